//! Writes the files of the repository that are generated from the doctor's rules: `just generate`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, text) in roadstead_host::doctor::emit::generated_files() {
        let file = repository.join(path);
        fs::create_dir_all(file.parent().expect("a path below the repository"))?;
        fs::write(&file, text)?;
        if path.ends_with(".sh") {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        println!("{path}");
    }
    Ok(())
}
