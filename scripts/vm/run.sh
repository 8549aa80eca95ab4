#!/usr/bin/env bash
# Boots Debian 12's kernels in software emulation and runs a script as their init: real root, on the oldest kernels
# that Roadstead is for, which may be spoiled.
#
#   run.sh GUEST_SCRIPT PROGRAM...     SERIES='6.1 6.12' and LIMIT_SECONDS=120 (per boot) in the environment
#   run.sh --missing-tools             only names the Debian packages that it lacks
#
# The guest is an initramfs of busybox, nft, conntrack and the programs; it needs no disk, no network, no KVM. Its
# script, a file beside this one, must end with a line `N passed, N failed`.
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
work="$repository/target/vm"
usage='usage: run.sh GUEST_SCRIPT PROGRAM...'

# Needs a kernel package's name that ends in -unsigned: the same kernel, in one package.
pattern_of() {
    case $1 in
        6.1) echo '^linux-image-6\.1\.0-[0-9]+-cloud-amd64-unsigned$' ;;
        6.12) echo '^linux-image-6\.12\.[0-9]+\+deb12-cloud-amd64-unsigned$' ;;
        *) echo "run.sh: kernel series $1 is not known here: 6.1 or 6.12" >&2; return 1 ;;
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
    local root=$1 kernel=$2 release=$3 program
    rm -rf "$root"
    mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,etc/sysctl.d,etc/security/limits.d,etc/systemd/system,var/lib,run}
    echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
    install -D "$(command -v busybox)" "$root/bin/busybox"
    install_program "$root" /usr/sbin/nft /usr/sbin/nft
    install_program "$root" /usr/sbin/conntrack /usr/sbin/conntrack
    for program in "${programs[@]}"; do
        strip -o "$work/stripped" "$program"
        install_program "$root" "$work/stripped" "/programs/$(basename "$program")"
    done
    install "$repository/scripts/tune.sh" "$repository/scripts/untune.sh" "$root/"
    install "$repository/scripts/vm/$guest" "$root/init"
    install_modules "$root" "$kernel" "$release"
    (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$root.cpio.gz"
}

run_kernel() {
    local kernel release log
    kernel=$(fetch_kernel "$1")
    release=$(basename "$kernel"/boot/vmlinuz-*)
    release=${release#vmlinuz-}
    log="$work/$1-${guest%.sh}.log"
    # Since merged /usr, kernels may keep their modules under usr/lib.
    [ -d "$kernel/lib/modules" ] || { mkdir -p "$kernel/lib" && ln -sfn ../usr/lib/modules "$kernel/lib/modules"; }
    build_initramfs "$work/guest-$1" "$kernel" "$release"
    echo "== Linux $release"
    timeout "${LIMIT_SECONDS:-120}" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1024 \
        -nodefaults -no-reboot -display none -serial stdio -kernel "$kernel/boot/vmlinuz-$release" \
        -initrd "$work/guest-$1.cpio.gz" -append 'console=ttyS0 quiet panic=-1' </dev/null 2>&1 |
        tr -d '\r' | tee "$log" | grep -aE '^(ok|FAILED|     )|passed,' || true
    if ! grep -aqE '^[0-9]+ passed, 0 failed$' "$log"; then
        echo "run.sh: Linux $release did not pass; the whole console is in $log" >&2
        return 1
    fi
}

missing=$(missing_tools | tr '\n' ' ')
if [ "${1:-}" = --missing-tools ]; then
    echo "$missing"
    exit 0
fi
if [ -n "$missing" ]; then
    echo "run.sh: missing tools; as root: apt-get install --no-install-recommends $missing" >&2
    exit 1
fi
guest=${1:?$usage}
shift
programs=("${@:?$usage}")
mkdir -p "$work"
for series in ${SERIES:-6.1 6.12}; do
    run_kernel "$series"
done
