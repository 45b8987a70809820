//! The documentation names what is there.

use anyhow::{Context, Result};
use integration::artifacts::workspace;

use crate::manifests::files;

#[test]
fn its_links_commands_and_files_are_there() -> Result<()> {
    for (name, folder) in [("istio", "istio"), ("envoy-gateway", "envoy-gateway")] {
        let docs = workspace().join("docs");
        let text = std::fs::read_to_string(docs.join(format!("{name}.md")))?;
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(docs.join(target).exists(), "there is no {target}");
        }
        let folder_of_step = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("kubectl apply --kustomize "))
            .context("no step applies it")?;
        assert!(workspace().join(folder_of_step).join("kustomization.yaml").exists());
        let there = files(folder)?;
        let words = text.split('`').filter(|word| word.strip_suffix(".yaml").is_some());
        for word in words {
            assert!(there.iter().any(|file| file == word), "there is no {word}");
        }
    }
    Ok(())
}
