#!/usr/bin/env bash
# Boots Debian 12's kernels in software emulation and runs guest.sh as their init: the doctor with real root, on
# kernels that may be spoiled. Usage: run.sh ROADSTEAD_BINARY [6.1] [6.12]
#
# The guest is an initramfs of busybox, nft, conntrack and the binary; it needs no disk, no network, no KVM.
# `run.sh --missing-tools` only names the Debian packages that it lacks.
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
work="$repository/target/vm"
binary=${1:?usage: run.sh ROADSTEAD_BINARY [6.1] [6.12]}
shift
[ $# -gt 0 ] || set -- 6.1 6.12

# One boot and all its checks; emulated, it takes some ten seconds.
boot_limit_seconds=120

# Needs a kernel package's name that ends in -unsigned: the same kernel, in one package.
pattern_of() {
    case $1 in
        6.1) echo '^linux-image-6\.1\.0-[0-9]+-cloud-amd64-unsigned$' ;;
        6.12) echo '^linux-image-6\.12\.[0-9]+\+deb12-cloud-amd64-unsigned$' ;;
        *) echo "run.sh: kernel $1 is not known here: 6.1 or 6.12" >&2; return 1 ;;
    esac
}

missing_tools() {
    command -v qemu-system-x86_64 >/dev/null || echo qemu-system-x86
    command -v cpio >/dev/null || echo cpio
    command -v modprobe >/dev/null || echo kmod
    [ -x /usr/sbin/nft ] || echo nftables
    [ -x /usr/sbin/conntrack ] || echo conntrack
    [[ $(busybox --list 2>/dev/null) == *insmod* ]] || echo busybox-static
}

# Unpacks the newest kernel of a series, and says where.
fetch_kernel() {
    local package dir
    package=$(apt-cache search --names-only "$(pattern_of "$1")" | cut -d' ' -f1 | sort -V | tail -n 1)
    if [ -z "$package" ]; then
        echo "run.sh: no package of Linux $1 is known to apt; run apt-get update" >&2
        return 1
    fi
    dir="$work/$package"
    if [ ! -e "$dir/unpacked" ]; then
        mkdir -p "$dir"
        (cd "$dir" && apt-get download -q "$package" >&2)
        dpkg-deb -x "$dir"/*.deb "$dir"
        rm "$dir"/*.deb
        touch "$dir/unpacked"
    fi
    echo "$dir"
}

# Copies a program with the libraries it is linked to.
install_program() {
    local root=$1 program=$2 library
    install -D "$program" "$root$3"
    for library in $(ldd "$program" | grep -o '/[^ ]*'); do
        [ -e "$root$library" ] || install -D "$library" "$root$library"
    done
}

# Modules in the order in which they must be loaded, unpacked where the kernel has them compressed.
install_modules() {
    local root=$1 kernel=$2 release=$3 number=10 module
    depmod -b "$kernel" "$release"
    mkdir -p "$root/modules"
    for module in $(modprobe -d "$kernel" -S "$release" --show-depends -a nf_conntrack nf_conntrack_netlink nf_tables nft_ct |
        awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
        case $module in
            *.xz) xz -dc "$module" >"$root/modules/$number-$(basename "$module" .xz)" ;;
            *) cp "$module" "$root/modules/$number-$(basename "$module")" ;;
        esac
        number=$((number + 1))
    done
}

build_initramfs() {
    local root=$1 kernel=$2 release=$3
    rm -rf "$root"
    mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,etc/sysctl.d,etc/security/limits.d,etc/systemd/system,var/lib,run}
    echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
    install -D "$(command -v busybox)" "$root/bin/busybox"
    install_program "$root" /usr/sbin/nft /usr/sbin/nft
    install_program "$root" /usr/sbin/conntrack /usr/sbin/conntrack
    strip -o "$work/roadstead" "$binary"
    install_program "$root" "$work/roadstead" /usr/bin/roadstead
    install "$repository/scripts/tune.sh" "$repository/scripts/untune.sh" "$root/"
    install "$repository/scripts/vm/guest.sh" "$root/init"
    install_modules "$root" "$kernel" "$release"
    (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$root.cpio.gz"
}

run_kernel() {
    local kernel release log
    kernel=$(fetch_kernel "$1")
    release=$(basename "$kernel"/boot/vmlinuz-*)
    release=${release#vmlinuz-}
    log="$work/$1.log"
    # Since merged /usr, kernels may keep their modules under usr/lib.
    [ -d "$kernel/lib/modules" ] || { mkdir -p "$kernel/lib" && ln -sfn ../usr/lib/modules "$kernel/lib/modules"; }
    build_initramfs "$work/guest-$1" "$kernel" "$release"
    echo "== Linux $release"
    timeout "$boot_limit_seconds" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1024 \
        -nodefaults -no-reboot -display none -serial stdio -kernel "$kernel/boot/vmlinuz-$release" \
        -initrd "$work/guest-$1.cpio.gz" -append 'console=ttyS0 quiet panic=-1' </dev/null 2>&1 |
        tr -d '\r' | tee "$log" | grep -aE '^(ok|FAILED|     )|passed,' || true
    if ! grep -aqE '^[0-9]+ passed, 0 failed$' "$log"; then
        echo "run.sh: Linux $release did not pass; the whole console is in $log" >&2
        return 1
    fi
}

missing=$(missing_tools | tr '\n' ' ')
if [ "$binary" = --missing-tools ]; then
    echo "$missing"
    exit 0
fi
if [ -n "$missing" ]; then
    echo "run.sh: missing tools; as root: apt-get install --no-install-recommends $missing" >&2
    exit 1
fi
mkdir -p "$work"
for series in "$@"; do
    run_kernel "$series"
done
