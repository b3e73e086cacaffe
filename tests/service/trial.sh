#!/bin/sh
# What is tried within a machine that has booted; boot.sh runs it at each boot.
unit=comfyui-headless.service
share=/run/share
api=http://127.0.0.1:8188

say() { echo "$(cut -d. -f1 /proc/uptime >/dev/null; date +%T) $*"; }

ours() { "$PYTHON" -I -m comfy_supervisor "$@"; }

ask() { "$PYTHON" -I -c 'import sys, urllib.request as u
print(u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode() if len(sys.argv) > 2 else None, {"Content-Type": "application/json"}), timeout=5).read().decode())' "$@" 2>/dev/null; }

until_() { # what, seconds, command…: wait until the command succeeds
    what=$1 left=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        if [ "$left" -le 0 ]; then fail "$what"; fi
        sleep 1
    done
    say "ok: $what"
}

fail() {
    say "FAILED: $*"
    systemctl status --no-pager --full $unit
    journalctl --no-pager --lines 60
    tail -n 40 /var/lib/comfy-supervisor/logs/*.log
    echo failed >$share/ended-1
    echo failed >$share/ended-2
    exec systemctl --force --force poweroff
}

pid_of() { # what its command line holds
    pgrep --oldest --uid comfyui --full "$1"
}

comes_back() { # name, what its command line holds
    before=$(pid_of "$2") || fail "$1 does not run"
    kill -KILL "$before"
    until_ "$1 (pid $before) was killed, and is back" 60 another "$2" "$before"
    until_ "the API answers" 60 ask $api/queue
}

another() { now=$(pid_of "$1") && [ "$now" != "$2" ]; }

holds() { ask "$1" | grep -q "$2"; }

in_journal() { journalctl --no-pager --unit $unit --identifier "$1" --output cat | grep -q "$2"; }

gone() { ! "$@"; }

first_boot() {
    printf '[Service]\nType=forking\nPIDFile=/run/old.pid\nExecStart=/bin/sh -c "sleep 1000 & echo $! >/run/old.pid"\n' >/etc/systemd/system/$unit
    ours service install --create-user || fail install
    [ -e /etc/systemd/system/$unit.before-comfy-supervisor ] || fail "the unit that was there is not kept"
    until_ "installed, and the API answers" 90 ask $api/queue
    [ "$(stat -c %U:%a /run/comfy-supervisor/supervisor.sock)" = comfyui:700 ] || fail "the socket's mode"
    [ "$(ps -o uid= -p "$(systemctl show -P MainPID $unit)")" -ne 0 ] || fail "supervisord runs as root"
    ours service install || fail "install once more"
    until_ "installed once more" 60 ask $api/queue
    comes_back supervisord "supervisor.supervisord"
    until_ "the listener runs" 60 pid_of eventlisteners.comfyui_health
    comes_back "the listener" "eventlisteners.comfyui_health"
    comes_back ComfyUI "standin/main.py"
    ours render || fail "render by root"
    [ -z "$(find /var/lib/comfy-supervisor -user root)" ] || fail "root has left files of its own"
    say "ok: what root does is done as the service's account"
    systemctl reload $unit || fail reload
    say "ok: reloaded"
    until_ "the API answers" 60 ask $api/queue
    ask $api/prompt '{"prompt_id": "11111111-2222-4333-8444-555555555555", "prompt": {"1": {"class_type": "StandinSleep", "inputs": {"seconds": 900}}}}' || fail submit
    until_ "a job is submitted" 30 holds $api/queue 11111111-2222-4333-8444-555555555555
    until_ "ComfyUI's log is in the journal" 30 in_journal comfyui "imitated"
    until_ "the listener's, too" 30 in_journal comfyui-health .
    sync
    echo well >$share/ended-1
    say "reboot"
    systemctl reboot 2>/dev/null # it complains of a logind that is not there
}

second_boot() {
    until_ "after the reboot the API answers" 90 ask $api/queue
    until_ "the job is back" 90 holds $api/queue 11111111-2222-4333-8444-555555555555
    ours service uninstall || fail uninstall
    for each in $unit comfyui-headless-gpu.service multi-user.target.wants/$unit; do
        [ ! -e /etc/systemd/system/$each ] || fail "$each is left"
    done
    until_ "none of its processes is left" 30 gone pgrep --uid comfyui
    [ -e /var/lib/comfy-supervisor/cpu/journal.sqlite ] || fail "the journal is gone"
    say "ok: uninstalled; the journal is still there"
    echo well >$share/ended-2
    systemctl poweroff 2>/dev/null
}

exec 2>&1
if [ -e $share/ended-1 ]; then second_boot; else first_boot; fi
