//! Synthetic hosts for the tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::HostRoot;

/// A directory tree laid out like `/`, removed when dropped.
pub(crate) struct Tree {
    dir: TempDir,
}

impl Tree {
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let tree = Self {
            dir: TempDir::new().expect("a temporary directory"),
        };
        for (path, text) in files {
            tree.put(path, text);
        }
        tree
    }

    pub(crate) fn root(&self) -> HostRoot {
        HostRoot::at(self.dir.path())
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        self.put_bytes(path, text.as_bytes());
    }

    pub(crate) fn put_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.root().path(path);
        fs::create_dir_all(path.parent().expect("an absolute path")).expect("the file's folder");
        fs::write(path, bytes).expect("a file of the tree");
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.root().path(path);
        fs::create_dir_all(path.parent().expect("an absolute path")).expect("the link's folder");
        std::os::unix::fs::symlink(target, path).expect("a link of the tree");
    }

    pub(crate) fn make_read_only(&self, path: &str) {
        let read_only = fs::Permissions::from_mode(0o444);
        fs::set_permissions(self.root().path(path), read_only).expect("a file of the tree");
    }
}
