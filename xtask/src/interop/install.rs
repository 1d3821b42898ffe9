//! Installs the pinned clients below `interop/.cache`. What is there and unchanged is used again: each installation keeps
//! a stamp with the text of the files that pin it.

use super::failure::Failure;
use super::places::Places;
use super::process::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long one installation may take.
const LIMIT: Duration = Duration::from_secs(600);
const COPY_JARS: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// The jars of a `pom.xml`, copied into one directory.
pub(crate) fn jars(places: &Places, pom: &str) -> Result<PathBuf, Failure> {
    let target = places.cache.join("jars").join(pom.trim_end_matches(".xml").replace('/', "-"));
    let pom = places.suites.join(pom);
    unless_stamped(&target, &[&pom], || {
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom).args([COPY_JARS, "-DincludeScope=runtime"]);
        maven.arg(format!("-DoutputDirectory={}", target.display()));
        run(&mut maven, &places.run.join("install-jars.log"), LIMIT)
    })?;
    Ok(target)
}

/// The classes of `.java` files and of all those in directories, compiled against `jars`.
pub(crate) fn classes(places: &Places, sources: &[&str], jars: &Path) -> Result<PathBuf, Failure> {
    let name = jars.file_name().expect("a directory of jars has a name");
    let target = places.cache.join("classes").join(name);
    let mut files = Vec::new();
    for source in sources {
        files.extend(self::files(&places.suites.join(source), "java")?);
    }
    let pins: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    unless_stamped(&target, &pins, || {
        let mut javac = Command::new("javac");
        // RocketMQ deprecates most of what its clients offer.
        let lint = if sources.iter().any(|source| source.starts_with("rocketmq")) {
            "-Xlint:all,-processing,-deprecation"
        } else {
            "-Xlint:all,-processing"
        };
        javac.args([lint, "-Werror", "-encoding", "UTF-8", "-cp"]).arg(jars.join("*"));
        javac.arg("-d").arg(&target).args(&files);
        run(&mut javac, &places.run.join("javac.log"), LIMIT)
    })?;
    Ok(target)
}

/// A virtual environment with the packages of a folder's `requirements.txt`; gives its interpreter.
pub(crate) fn python(places: &Places, folder: &str) -> Result<PathBuf, Failure> {
    let target = places.cache.join(folder.replace('/', "-"));
    let requirements = places.suites.join(folder).join("requirements.txt");
    let interpreter = target.join("bin/python");
    unless_stamped(&target, &[&requirements], || {
        let log = places.run.join("install-python.log");
        run(Command::new("python3").args(["-m", "venv"]).arg(&target), &log, LIMIT)?;
        let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "-r"];
        run(Command::new(&interpreter).args(pip).arg(&requirements), &log, LIMIT)
    })?;
    Ok(interpreter)
}

/// The modules of a folder's `package-lock.json`, beside it, where Node looks for them.
pub(super) fn node(places: &Places, folder: &str) -> Result<(), Failure> {
    let project = places.suites.join(folder);
    let lock = project.join("package-lock.json");
    unless_stamped(&project.join("node_modules"), &[&lock], || {
        let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(arguments).current_dir(&project), &places.run.join("install-node.log"), LIMIT)
    })
}

/// One of our Go programs, built; the Go tool itself knows what is up to date.
pub(super) fn go_program(places: &Places, module: &str) -> Result<PathBuf, Failure> {
    let target = places.cache.join(module.replace('/', "-"));
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-o"]).arg(&target).arg(".").current_dir(places.suites.join(module));
    run(&mut go, &places.run.join("install-go.log"), LIMIT)?;
    Ok(target)
}

/// Debian's kcat, through apt-get when it is missing.
pub(super) fn kcat(places: &Places) -> Result<(), Failure> {
    let log = places.run.join("install-kcat.log");
    let version = || run(Command::new("kcat").arg("-V"), &log, LIMIT);
    if version().is_ok() {
        return Ok(());
    }
    run(Command::new("apt-get").args(["update", "-q"]), &log, LIMIT)?;
    run(Command::new("apt-get").args(["install", "-q", "-y", "kcat"]), &log, LIMIT)?;
    version()
}

/// A file itself, or the files of a directory and those below it with this extension, sorted.
fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    if directory.is_file() {
        return Ok(vec![directory.to_owned()]);
    }
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).map_err(|error| Failure::file(&directory, error))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|own| own == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Empties `target` and runs `install`, unless it was done for the same contents of the pinning files.
fn unless_stamped(target: &Path, pins: &[&Path], install: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let stamp = target.join(".stamp");
    let mut wanted = String::new();
    for pin in pins {
        wanted += &std::fs::read_to_string(pin).map_err(|error| Failure::file(pin, error))?;
    }
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("installing {}", target.display());
    if target.exists() {
        std::fs::remove_dir_all(target).map_err(|error| Failure::file(target, error))?;
    }
    std::fs::create_dir_all(target).map_err(|error| Failure::file(target, error))?;
    install()?;
    std::fs::write(&stamp, wanted).map_err(|error| Failure::file(&stamp, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_repeated_only_when_what_pins_it_changes() {
        let place = std::env::temp_dir().join(format!("xtask-install-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let pin = place.join("pin");
        let mut times = 0;
        for text in ["1", "1", "2"] {
            std::fs::write(&pin, text).unwrap();
            let install = || {
                times += 1;
                Ok(())
            };
            unless_stamped(&place.join("target"), &[&pin], install).unwrap();
        }
        assert_eq!(times, 2);
        std::fs::remove_dir_all(&place).unwrap();
    }
}
