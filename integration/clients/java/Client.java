import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Java's own HttpClient: so many requests at once, each sent once and checked by its body.
 * Arguments: URL, requests, requests at once, HTTP_1_1 or HTTP_2, and the authority to trust (a PEM
 * file) where it is TLS. Ends with a line of JSON, as the clients in Python do.
 *
 * The library sends GET requests a second time on its own; these are POST, which it does not.
 */
public class Client {
    static final int[] SIZES = {0, 1, 100, 1_000, 10_000, 300_000};
    static final AtomicInteger sent = new AtomicInteger(), failed = new AtomicInteger();
    static volatile String failure = "";

    public static void main(String[] args) throws Exception {
        int requests = Integer.parseInt(args[1]), parallel = Integer.parseInt(args[2]);
        var builder = HttpClient.newBuilder().version(HttpClient.Version.valueOf(args[3]));
        if (args.length > 4) {
            builder.sslContext(trusting(args[4]));
        }
        var client = builder.build();
        var uri = URI.create(args[0] + "/echo");
        var lanes = Executors.newFixedThreadPool(parallel);
        for (int i = 0; i < parallel; i++) {
            lanes.submit(() -> {
                for (int id = sent.incrementAndGet(); id <= requests; id = sent.incrementAndGet()) {
                    send(client, uri, id);
                }
            });
        }
        lanes.shutdown();
        lanes.awaitTermination(2, TimeUnit.MINUTES);
        System.out.printf("{\"requests\": %d, \"failed\": %d, \"failures\": [\"%s\"]}%n",
            requests, failed.get(), failure.replace('"', '\''));
        System.exit(0);
    }

    static void send(HttpClient client, URI uri, int id) {
        byte[] body = new byte[SIZES[id % SIZES.length]];
        new Random(id).nextBytes(body);
        var request = HttpRequest.newBuilder(uri).timeout(Duration.ofSeconds(20))
            .header("x-id", "" + id).POST(BodyPublishers.ofByteArray(body)).build();
        try {
            var response = client.send(request, BodyHandlers.ofByteArray());
            var received = response.headers().firstValue("x-id").orElse("");
            if (response.statusCode() != 200 || !received.equals("" + id)) {
                fail("status " + response.statusCode() + ", id " + received + " for " + id);
            } else if (!Arrays.equals(response.body(), body)) {
                fail(response.body().length + " other bytes than the " + body.length + " sent");
            }
        } catch (Exception error) {
            fail(error.toString());
        }
    }

    static void fail(String what) {
        failed.incrementAndGet();
        failure = what;
    }

    static SSLContext trusting(String file) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (var stream = new FileInputStream(file)) {
            var authority = CertificateFactory.getInstance("X.509").generateCertificate(stream);
            store.setCertificateEntry("authority", authority);
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }
}
