//! `roadstead doctor`: says what this host can hold and why, and sets it right.
//!
//! The rules, the tuning and the generated files are in `roadstead_host::doctor`; here are the flags, the
//! question before anything is changed, and the exit codes: 0 the host can hold the target, 1 it cannot,
//! 2 wrong usage.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use roadstead_host::HostRoot;
use roadstead_host::doctor::tuning::{self, Changes};
use roadstead_host::doctor::{Facts, Role, Target, emit, examine};
use roadstead_host::quantity::parse_count;

/// Say what this host can hold and why; set it right with --apply.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Connections that the host is to hold, such as 250k or 5M.
    #[arg(long, default_value = "5M", value_parser = connections)]
    connections: u64,

    /// Cores to plan for, instead of those this process may use.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    cores: Option<u32>,

    /// Whether the host accepts connections (server) or opens them (client).
    #[arg(long, default_value = "server")]
    role: Role,

    /// The port that the server listens on.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Print the report as JSON.
    #[arg(long)]
    json: bool,

    /// Show what falls short, ask, and set it right (as root).
    #[arg(long, group = "action", conflicts_with = "json")]
    apply: bool,

    /// Put back what was there before --apply (as root).
    #[arg(long, group = "action", conflicts_with = "json")]
    revert: bool,

    /// Print a file made from the rules, to install by other means.
    #[arg(long, group = "action", value_name = "WHAT", conflicts_with = "json")]
    emit: Option<Emitted>,

    /// Do not ask before changing anything.
    #[arg(long)]
    yes: bool,

    /// Work on a directory tree laid out like /, such as an image being built.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// A file made from the rules.
#[derive(Clone, Copy, ValueEnum)]
enum Emitted {
    /// A sysctl.d drop-in.
    Sysctl,
    /// A limits.d file.
    Limits,
    /// An nftables ruleset that exempts the port from connection tracking.
    Nftables,
    /// The same as iptables commands.
    Iptables,
    /// A systemd unit for the server.
    Unit,
    /// A shell script that sets a host right.
    Tune,
    /// The shell script that undoes it.
    Untune,
    /// The host guide.
    Guide,
}

fn connections(text: &str) -> Result<u64, String> {
    match parse_count(text) {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs the command; the exit code says whether the host can hold the target.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let target = Target {
        connections: args.connections,
        role: args.role,
        port: args.port,
    };
    let root = HostRoot::at(&args.root);
    if let Some(emitted) = args.emit {
        print!("{}", text_of(emitted, &target));
        return Ok(ExitCode::SUCCESS);
    }
    if !args.root.is_dir() {
        bail!("{} is no directory", args.root.display());
    }
    if (args.apply || args.revert) && tuning::needs_root(&root) {
        bail!(
            "changing this host takes root: run this with sudo, or see the fixes with `roadstead doctor`"
        );
    }
    if args.revert {
        return revert(&root);
    }
    if args.apply {
        return apply(args, &root, &target);
    }
    report(args, &root, &target)
}

fn gather(args: &Args, root: &HostRoot, target: &Target) -> Facts {
    let mut facts = Facts::gather(root, target);
    if let Some(cores) = args.cores {
        facts.limits.cores = cores;
    }
    facts
}

fn report(args: &Args, root: &HostRoot, target: &Target) -> anyhow::Result<ExitCode> {
    let report = examine(root, &gather(args, root, target), target);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(if report.holds_target {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn apply(args: &Args, root: &HostRoot, target: &Target) -> anyhow::Result<ExitCode> {
    let changes = Changes::draw(root, &gather(args, root, target), target)?;
    if changes.is_empty() {
        print!("{changes}");
        println!("Nothing to set right.");
    } else {
        println!("To be changed under {}:\n{changes}", args.root.display());
        if !args.yes && !confirmed()? {
            println!("Nothing was changed.");
            return Ok(ExitCode::FAILURE);
        }
        tuning::apply(root, &changes)?;
        println!("Done. `roadstead doctor --revert` puts it back.");
    }
    let report = examine(root, &gather(args, root, target), target);
    println!("\n{}", report.conclusion());
    // A tree has no running kernel: there the files are all that was asked for.
    let reached = report.holds_target || !root.is_live();
    Ok(if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn confirmed() -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask on; say --yes to change this without asking");
    }
    print!("Change this? [y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn revert(root: &HostRoot) -> anyhow::Result<ExitCode> {
    let Some(reverted) = tuning::revert(root)? else {
        println!("Nothing to revert.");
        return Ok(ExitCode::SUCCESS);
    };
    for restored in &reverted.restored {
        println!("restored: {restored}");
    }
    for left in &reverted.left {
        println!("left as it is: {left}");
    }
    println!(
        "Open logins and running services keep their descriptor limits until they start anew."
    );
    Ok(ExitCode::SUCCESS)
}

fn text_of(emitted: Emitted, target: &Target) -> String {
    match emitted {
        Emitted::Sysctl => {
            let settings = emit::sysctl_settings(target);
            emit::sysctl_conf(settings.iter().map(|(name, value)| (*name, value.as_str())))
        }
        Emitted::Limits => emit::limits_conf(target.descriptors()),
        Emitted::Nftables => emit::nftables(target.port),
        Emitted::Iptables => emit::iptables(target.port),
        Emitted::Unit => emit::unit(target),
        Emitted::Tune => emit::tune_script(target),
        Emitted::Untune => emit::untune_script(),
        Emitted::Guide => emit::guide(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from(["doctor"].iter().chain(flags)).map(|cli| cli.args)
    }

    #[test]
    fn the_default_is_five_million_as_a_server() {
        let args = parse(&[]).unwrap();
        assert_eq!(
            (args.connections, args.role, args.port),
            (5_000_000, Role::Server, 8080)
        );
        assert_eq!(
            parse(&["--connections", "250k"]).unwrap().connections,
            250_000
        );
    }

    #[test]
    fn wrong_usage_is_refused_with_exit_code_2() {
        for flags in [
            &["--connections", "0"][..],
            &["--connections", "lots"],
            &["--cores", "0"],
            &["--role", "proxy"],
            &["--port", "0"],
            &["--apply", "--revert"],
            &["--apply", "--json"],
            &["--emit", "poetry"],
        ] {
            let refused = parse(flags)
                .err()
                .unwrap_or_else(|| panic!("{flags:?} was accepted"));
            assert_eq!(refused.exit_code(), 2, "{flags:?}");
        }
    }

    #[test]
    fn every_file_that_can_be_printed_has_a_text() {
        for what in Emitted::value_variants() {
            assert!(text_of(*what, &Target::default()).lines().count() > 2);
        }
    }
}
