# What is tried of a user's own service, which runs without a login; trial.sh reads this.
user=ada
user_api=http://127.0.0.1:8199
user_home=/home/$user
user_state=$user_home/.local/state/comfy-supervisor

has_logins() { # whether systemd is told of them, without which users have none of their own
    [ -e /usr/share/dbus-1/system-services/org.freedesktop.login1.service ] && command -v dbus-daemon && ls /usr/lib/*/security/pam_systemd.so
}

as_user() { # as one who has logged in
    su -l $user -c "PATH=/usr/sbin:/usr/bin:/sbin:/bin; exec $PYTHON -I -m comfy_supervisor $*"
}

without_session() { # as cron and sudo -u do it, which open none
    setpriv --reuid $user --regid $user --init-groups env -i HOME=$user_home PATH=/usr/bin:/bin \
        "$PYTHON" -I -m comfy_supervisor "$@"
}

users_pid() { pgrep --oldest --uid $user --full "$1"; }

another_of_users() { now=$(users_pid supervisor.supervisord) && [ "$now" != "$1" ]; }

users_own() {
    useradd --create-home $user
    install -d -o $user -g $user $user_home/.config $user_home/.config/comfy-supervisor
    printf '[comfyui]\ndirectory = "standin"\nport = 8199\n\n[gpu]\ndevices = "cpu"\n' >$user_home/.config/comfy-supervisor/comfy-supervisor.toml
    without_session service install --user || fail "install --user"
    until_ "a user's own service is installed, without a login, and its API answers" 60 ask $user_api/queue
    as_user service install --user || fail "install --user once more"
    [ -e /var/lib/systemd/linger/$user ] || fail "lingering is off"
    [ -S "/run/user/$(id -u $user)/comfy-supervisor/supervisor.sock" ] || fail "the socket's place"
    as_user service status --user | grep -q "Active: active (running)" || fail "service status --user"
    as_user service logs --user | grep -q "spawned: 'comfyui'" || fail "service logs --user"
    for how in as_user without_session; do
        $how render --check || fail "$how: it would be rendered otherwise than systemd has it rendered"
        $how status --exit-code || fail "$how: status"
    done
    before=$(users_pid supervisor.supervisord) || fail "the user's supervisord does not run"
    kill -KILL "$before"
    until_ "the user's supervisord (pid $before) was killed, and is back" 60 another_of_users "$before"
    until_ "the user's API answers" 60 ask $user_api/queue
    as_user down || fail "the user's down"
    as_user service status --user | grep -q "Active: inactive" || fail "the user's down has stopped nothing"
    as_user service start --user || fail "service start --user"
    until_ "the user's down, service start, and the API answers" 60 ask $user_api/queue
}

users_own_after_reboot() {
    until_ "after the reboot the user's API answers" 60 ask $user_api/queue
    [ -z "$(loginctl list-sessions --no-legend)" ] || fail "somebody has logged in"
    say "ok: and nobody has logged in"
    as_user service uninstall --user || fail "uninstall --user"
    until_ "none of the user's processes of it is left" 30 gone users_pid comfy_supervisor
    [ -z "$(find $user_home/.config/systemd -name 'comfyui*')" ] || fail "something of the user's unit is left"
    [ -e $user_state/cpu/journal.sqlite ] || fail "the user's journal is gone"
    say "ok: the user's is uninstalled"
}
