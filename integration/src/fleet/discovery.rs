//! Filters that an Envoy takes from files of their own, and takes anew when these change (ECDS).
//!
//! As with the bootstraps, the files are the shipped ones (`envoy-configs/xds/`), with the path of
//! the module and the JSON of the filter's own configuration filled in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::config::{Bootstrap, configuration_of, fill_in, read_yaml};
use crate::artifacts::workspace;

/// The filters of one Envoy, in its folder.
#[derive(Clone, Debug)]
pub struct Discovery {
    folder: PathBuf,
    modules: PathBuf,
}

// === impl Discovery ===

impl Discovery {
    /// Filters in `folder`, which is made, of the modules in `modules`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: PathBuf, modules: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder, modules })
    }

    /// Has the filter `name` of this bootstrap come from here, with `overlay` over its
    /// configuration as it is shipped.
    ///
    /// # Errors
    /// There is no such filter, or it is not discovered.
    pub fn serve(&self, bootstrap: &mut Bootstrap, name: &str, overlay: &Value) -> Result<()> {
        self.deliver(name, overlay)?;
        let source = bootstrap
            .filter(name)?
            .pointer_mut("/config_discovery/config_source/path_config_source")
            .with_context(|| format!("{name} comes from no file"))?;
        source["path"] = json!(self.path(name));
        source["watched_directory"]["path"] = json!(self.folder);
        Ok(())
    }

    /// Delivers the filter `name` as it is shipped, with `overlay` over its configuration.
    ///
    /// # Errors
    /// There is no such filter, or its file cannot be written.
    pub fn deliver(&self, name: &str, overlay: &Value) -> Result<()> {
        let mut response = shipped(name)?;
        fill_in(filter_of(&mut response)?, name, &self.modules, overlay)?;
        self.deliver_text(name, &response.to_string())
    }

    /// Delivers the filter `name` as it is shipped, with this text as its configuration, whatever it
    /// may be.
    ///
    /// # Errors
    /// There is no such filter, or its file cannot be written.
    pub fn deliver_raw(&self, name: &str, configuration: &str) -> Result<()> {
        let mut response = shipped(name)?;
        let filter = filter_of(&mut response)?;
        fill_in(filter, name, &self.modules, &json!({}))?;
        *configuration_of(filter, name)? = json!(configuration);
        self.deliver_text(name, &response.to_string())
    }

    /// Delivers this text as the file of the filter `name`, as operators are told to: it is written
    /// beside and renamed into its place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn deliver_text(&self, name: &str, text: &str) -> Result<()> {
        let beside = self.folder.join(".new");
        fs::write(&beside, text).with_context(|| format!("cannot write {}", beside.display()))?;
        let path = self.path(name);
        fs::rename(&beside, &path).with_context(|| format!("cannot move {}", path.display()))
    }

    /// The same filters, of the modules in another folder.
    #[must_use]
    pub fn of_modules(&self, modules: &Path) -> Self {
        Self { folder: self.folder.clone(), modules: modules.to_owned() }
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same filters in a folder of this name within this one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn within(&self, name: &str) -> Result<Self> {
        Self::new(self.folder.join(name), self.modules.clone())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }
}

fn shipped(name: &str) -> Result<Value> {
    read_yaml(&workspace().join(format!("envoy-configs/xds/{name}.yaml")))
}

/// The filter in a response of the discovery service.
fn filter_of(response: &mut Value) -> Result<&mut Value> {
    response.pointer_mut("/resources/0").context("no resource")
}
