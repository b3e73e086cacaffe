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
    systemctl status --no-pager --full $unit "user@*.service"
    journalctl --no-pager --lines 60
    tail -n 40 /var/lib/comfy-supervisor/logs/*.log /home/*/.local/state/comfy-supervisor/logs/*.log
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

settings() { # further lines; those that boot.sh has written stay at the beginning
    { cat "$share/settings"; printf '%s\n' "$@"; } >/etc/comfy-supervisor/comfy-supervisor.toml
}

main_pid() { systemctl show -P MainPID $unit; }

is() { [ "$(systemctl is-active $unit)" = "$1" ]; }

as_the_service() { # in its namespace, as its account: a command
    nsenter --target "$(main_pid)" --mount setpriv --reuid comfyui --regid comfyui --clear-groups "$@"
}

an_owners_unit() {
    mkdir -p /etc/systemd/system/$unit.d
    printf '[Service]\nType=forking\nPIDFile=/run/old.pid\nExecStart=/bin/sh -c "sleep 1000 & echo $! >/run/old.pid"\n' >/etc/systemd/system/$unit
    printf '[Service]\nUser=root\nExecStart=\nExecStart=/bin/false\n' >/etc/systemd/system/$unit.d/override.conf
}

verbs() {
    ours service status | grep -q "Active: active (running)" || fail "service status"
    ours service logs --lines 50 | grep -q "spawned: 'comfyui'" || fail "service logs"
    (cd / && "$(dirname "$PYTHON")/supervisorctl" status comfyui | grep RUNNING) || fail "a bare supervisorctl"
    before=$(main_pid)
    ours service restart || fail "service restart"
    [ "$(main_pid)" != "$before" ] || fail "service restart has restarted nothing"
    until_ "service restart, and the API answers" 60 ask $api/queue
    ours service stop || fail "service stop"
    is inactive || fail "service stop has stopped nothing"
    ours service start || fail "service start"
    until_ "service stop, service start, and the API answers" 60 ask $api/queue
    ours down || fail down
    sleep 7 # RestartSec, and more
    is inactive || fail "down: systemd has started it again"
    say "ok: down, and it stays so"
}

an_older_unit() {
    sed -i 's/^\(# Written by comfy-supervisor\).*/\1 0.0.1: an older one/; s/^RestartSec=.*/RestartSec=50/' /etc/systemd/system/$unit
    systemctl daemon-reload
}

folders_elsewhere() {
    settings '[paths]' 'state = "/srv/cs/state"' 'logs = "/srv/cs/logs"'
    sed -i 's|^directory = .*|&\nextra_args = ["--output-directory", "/data/out", "--extra-model-paths-config", "/data/models.yaml"]|' /etc/comfy-supervisor/comfy-supervisor.toml
    install -d -o comfyui /data/out /data/loras
    install -d -m 777 /data/vae
    echo '{"elsewhere": {"loras": "/data/loras", "vae": "/data/vae"}}' >/data/models.yaml # JSON is YAML
    ours service install || fail "install with folders elsewhere"
    until_ "folders elsewhere, some of which were not there, and the API answers" 60 ask $api/queue
    [ "$(stat -c %U:%a /srv/cs/state)" = comfyui:700 ] || fail "the owner and mode of the state folder"
    as_the_service touch /data/out/image.png || fail "the output folder can't be written to"
    as_the_service touch /data/loras/new || fail "the account's own models can't be added to"
    [ "$(grep Umask "/proc/$(main_pid)/status" | cut -f 2)" = 0027 ] || fail "the umask"
    ! as_the_service touch /usr/local/x /srv/x /data/x /data/vae/x 2>/dev/null || fail "more than that can be written to"
    [ -z "$(find /usr/local/x /srv/x /data/x /data/vae/x 2>/dev/null)" ] || fail "one of them was written to"
    say "ok: it writes there, and nowhere else"
}

upgrade() {
    [ "$(systemctl show -P RestartUSec $unit)" = 50s ] || fail "there is no older unit"
    before=$(main_pid)
    settings
    ours service install || fail "install over an older unit"
    [ "$(systemctl show -P RestartUSec $unit)" = 5s ] || fail "the older unit is still in force"
    [ "$(main_pid)" != "$before" ] || fail "the changed unit was not taken over"
    until_ "a unit of an older release is taken over, and the API answers" 60 ask $api/queue
}

changed_settings() {
    before=$(main_pid)
    settings '[comfyui.environment]' 'TRIAL = "changed"' 'STANDIN_START = "ignore_sigint"'
    systemctl reload $unit || fail reload
    until_ "reloaded: ComfyUI has what was changed" 60 grep -qz TRIAL=changed "/proc/$(pid_of standin/main.py)/environ"
    [ "$(main_pid)" = "$before" ] || fail "a reload has restarted supervisord"
    until_ "the API answers" 60 ask $api/queue
    began=$(date +%s)
    ours service stop || fail "a slow stop"
    [ $(($(date +%s) - began)) -ge 9 ] || fail "ComfyUI was not given its time to stop"
    [ "$(systemctl show -P Result $unit)" = success ] || fail "the slow stop counts as a failure"
    until_ "one that does not hear SIGINT was given its time, and is gone" 5 gone pgrep --uid comfyui
    settings '[gpu.tiers]' 'gpu_onyl = 1'
    ! ours service start || fail "it starts with settings that are wrong"
    ours service logs | grep "gpu.tiers.gpu_onyl" || fail "why it does not start is not in its log"
    say "ok: what keeps it from starting stands in its log"
    settings
    ours status | grep "service start starts it" || fail "status does not name what starts it"
    ours service start || fail "service start"
    until_ "mended, and the API answers" 60 ask $api/queue
}

first_boot() {
    cp /etc/comfy-supervisor/comfy-supervisor.toml "$share/settings"
    an_owners_unit
    ours service install --create-user || fail install
    for each in $unit.before-comfy-supervisor $unit.d.before-comfy-supervisor/override.conf; do
        [ -e /etc/systemd/system/$each ] || fail "$each of the unit that was there is not kept"
    done
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
    verbs
    folders_elsewhere
    an_older_unit
    upgrade
    changed_settings
    ask $api/prompt '{"prompt_id": "11111111-2222-4333-8444-555555555555", "prompt": {"1": {"class_type": "StandinSleep", "inputs": {"seconds": 900}}}}' || fail submit
    until_ "a job is submitted" 30 holds $api/queue 11111111-2222-4333-8444-555555555555
    until_ "ComfyUI's log is in the journal" 30 in_journal comfyui "imitated"
    until_ "the listener's, too" 30 in_journal comfyui-health .
    if has_logins >/dev/null 2>&1; then users_own; else say "left out: a user's own service, for want of dbus or libpam-systemd"; fi
    sync
    echo well >$share/ended-1
    say "reboot"
    systemctl reboot
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
    ! has_logins >/dev/null 2>&1 || users_own_after_reboot
    echo well >$share/ended-2
    systemctl poweroff
}

exec 2>&1
. "$(dirname "$0")/trial_user.sh"
if [ -e $share/ended-1 ]; then second_boot; else first_boot; fi
