//! A module as an OCI image: what `docker build` makes of `FROM scratch` and `COPY plugin.wasm /`,
//! as an image layout in a tar archive (OCI image specification 1.1, `image-layout.md`), without a
//! daemon or a registry.
//!
//! One gzipped layer with the module at `/plugin.wasm` is what Istio and Envoy Gateway look for.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::sha256;

/// Where the module is in the image.
const PLUGIN: &str = "plugin.wasm";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A blob of the image, and what refers to it.
struct Blob {
    media_type: &'static str,
    bytes: Vec<u8>,
}

/// The archive of the image `name`.
pub(super) fn archive(name: &str, title: &str, module: &[u8]) -> Result<Vec<u8>> {
    let files = tar(&[(PLUGIN, module)])?;
    // No name and no time, in which builds would differ.
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(&files)?;
    let layer =
        Blob { media_type: "application/vnd.oci.image.layer.v1.tar+gzip", bytes: gzip.finish()? };
    let config = Blob {
        media_type: "application/vnd.oci.image.config.v1+json",
        bytes: bytes_of(&json!({
            // Nothing in it is of a machine, but who pulls an image asks for one.
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&files))] },
        })),
    };
    let manifest = Blob {
        media_type: "application/vnd.oci.image.manifest.v1+json",
        bytes: bytes_of(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
            "annotations": {
                "org.opencontainers.image.title": title,
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            },
        })),
    };
    let tag = format!("spillway/{name}:{VERSION}");
    let mut reference = manifest.descriptor();
    reference["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    let index = bytes_of(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [reference],
    }));
    let layout = bytes_of(&json!({ "imageLayoutVersion": "1.0.0" }));
    // What `docker load` reads, where it is older than 25.
    let docker = bytes_of(&json!([{
        "Config": config.path(),
        "RepoTags": [tag],
        "Layers": [layer.path()],
    }]));
    let mut members = vec![
        ("oci-layout".to_owned(), &layout),
        ("index.json".to_owned(), &index),
        ("manifest.json".to_owned(), &docker),
    ];
    members.extend([&layer, &config, &manifest].map(|blob| (blob.path(), &blob.bytes)));
    let members: Vec<_> =
        members.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    tar(&members)
}

/// An archive of plain files that belong to nobody in particular.
fn tar(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, path, *bytes)?;
    }
    Ok(archive.into_inner()?)
}

fn bytes_of(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

// === impl Blob ===

impl Blob {
    /// Where it is in the archive.
    fn path(&self) -> String {
        format!("blobs/sha256/{}", sha256(&self.bytes))
    }

    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "digest": format!("sha256:{}", sha256(&self.bytes)),
            "size": self.bytes.len(),
        })
    }
}
