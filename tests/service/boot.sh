#!/bin/sh
# Boots systemd as the first process of namespaces of its own, over a copy-on-write view of this machine, and has
# trial.sh try the service there: boot, kills, reboot, uninstall. Nothing of this machine is changed.
#
# usage, as root: boot.sh PYTHON          PYTHON: an interpreter that has comfy-supervisor and its tests' dependencies
set -eu
python=$1
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd)

if [ "${2-}" != inside ]; then
    exec unshare --mount --propagation private "$0" "$python" inside
fi

base=$(mktemp -d)
mount -t tmpfs tmpfs "$base"
mkdir "$base/changes" "$base/work" "$base/root" "$base/share"
trap 'cat "$base/share/transcript" 2>/dev/null' EXIT

first_process() { # $1: which boot
    unshare --mount --pid --fork --cgroup --uts --ipc --net --propagation private --kill-child \
        sh -eu -c '
        base=$1; root=$base/root; share=$2
        mount -t overlay overlay -o "lowerdir=/,upperdir=$base/changes,workdir=$base/work" "$root"
        for own in $share; do mkdir -p "$root$own"; mount --rbind "$own" "$root$own"; done
        mount -t proc proc "$root/proc"
        mount -t sysfs -o ro sysfs "$root/sys"
        mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
        mount -t tmpfs -o mode=755 tmpfs "$root/run"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount --rbind /dev "$root/dev"
        mkdir -p "$root/run/share"; mount --bind "$base/share" "$root/run/share"
        cd "$root"; mkdir -p before; pivot_root . before; umount -l before
        exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --system
        ' sh "$base" "${SHARE:-}"
}

prepare() {
    mount -t overlay overlay -o "lowerdir=/,upperdir=$base/changes,workdir=$base/work" "$base/root"
    etc=$base/root/etc
    : >"$etc/machine-id"
    rm -rf "$etc/fstab" "$base/root/var/lib/comfy-supervisor"
    mkdir -p "$etc/systemd/system/multi-user.target.wants" "$etc/comfy-supervisor" "$base/root/usr/local/lib/trial"
    for each in systemd-udevd systemd-networkd systemd-resolved ssh cron supervisor getty@tty1; do
        ln -sf /dev/null "$etc/systemd/system/$each.service"
    done
    ln -sf /usr/lib/systemd/system/multi-user.target "$etc/systemd/system/default.target"
    cp "$here/"*.sh "$base/root/usr/local/lib/trial/"
    cat >"$etc/systemd/system/trial.service" <<UNIT
[Unit]
After=network-online.target
[Service]
Type=exec
Environment=PYTHON=$python PATH=/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/bin/sh /usr/local/lib/trial/trial.sh
StandardOutput=append:/run/share/transcript
StandardError=append:/run/share/transcript
UNIT
    ln -sf ../trial.service "$etc/systemd/system/multi-user.target.wants/trial.service"
    for each in "$python" "$(readlink -f "$python")" "$here"; do # others must get at our code, if only in the copy
        while each=$(dirname "$each") && [ "$each" != / ]; do chmod o+x "$base/root$each"; done
    done
    printf '[comfyui]\ndirectory = "standin"\n\n[gpu]\ndevices = "cpu"\n\n[logs]\ntarget = "journal"\n' >"$etc/comfy-supervisor/comfy-supervisor.toml"
    umount "$base/root"
}

prepare
for boot in 1 2; do
    echo "== boot $boot" >>"$base/share/transcript"
    first_process >"$base/share/console" 2>&1 || true # a reboot ends it by a signal
    if [ "$(cat "$base/share/ended-$boot" 2>/dev/null)" = failed ]; then
        exit 1
    elif [ ! -e "$base/share/ended-$boot" ]; then
        cat "$base/share/console"
        echo "boot $boot did not get to its end"
        exit 1
    fi
done
[ "$(cat "$base/share/ended-2")" = well ]
