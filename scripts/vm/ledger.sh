#!/bin/busybox sh
# The init of a guest that run.sh boots: what idle connections cost this kernel, by slab cache and by the way they are
# watched, and whether `roadstead ledger` says the same. Both ends of each connection are sockets of the guest.

/bin/busybox --install -s /bin
export PATH=/bin:/programs:/usr/sbin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
ulimit -n 20000

passed=0
failed=0
connections=3000

# check WHAT COMMAND…: one line for each step, with the command's output where it fails.
check() {
    what=$1
    shift
    if "$@" >/tmp/output 2>&1; then
        passed=$((passed + 1))
        echo "ok      $what"
    else
        failed=$((failed + 1))
        echo "FAILED  $what"
        sed 's/^/        /' /tmp/output
    fi
}

# Asks again every 50 ms until the command succeeds, for half a minute: the guest is emulated.
waits_for() {
    for _ in $(seq 600); do
        "$@" && return 0
        usleep 50000
    done
    return 1
}
sockets() { awk '/^TCP:/ { print $3 }' /proc/net/sockstat; }
are_open() { [ "$(sockets)" -ge "$1" ]; }

# serve PORT FLAGS…: a server that says that it listens.
serve() {
    port=$1
    shift
    roadstead serve --listen "127.0.0.1:$port" --max-connections 4000 --workers 1 "$@" >"/tmp/serve.$port" 2>&1 &
    waits_for grep -q listening "/tmp/serve.$port"
}
# hold PORT: connections that stay open.
hold() {
    wanted=$(($(sockets) + 2 * connections))
    roadstead-load sockets --to "127.0.0.1:$1" -c $connections --idle 10m >"/tmp/load.$1" 2>&1 &
    waits_for are_open $wanted
}
# growth: bytes per connection since /tmp/before, by cache, where there are more than four.
growth() {
    cat /proc/slabinfo >/tmp/after
    awk -v n=$connections 'NR == FNR { before[$1] = $2; next }
        /^[A-Za-z:]/ && ($2 - before[$1]) * $4 / n > 4 {
            each = ($2 - before[$1]) / n
            printf "        %-20s %6.2f x %4d = %7.1f\n", $1, each, $4, each * $4 }' /tmp/before /tmp/after
}
# vectors: bytes per connection that grew in the caches that accounting vectors come from.
vectors() {
    awk -v n=$connections 'NR == FNR { before[$1] = $2; next }
        $1 ~ /^kmalloc-(128|192)$/ { sum += ($2 - before[$1]) * $4 / n } END { printf "%d", sum }' /tmp/before /proc/slabinfo
}
few_vectors() { [ "$(vectors)" -lt 30 ]; }
many_vectors() { [ "$(vectors)" -gt 60 ]; }

# measure PORT FLAGS…: holds connections, and prints what they cost.
measure() {
    serve "$@" || cat "/tmp/serve.$1"
    cat /proc/slabinfo >/tmp/before
    hold "$1" || cat "/tmp/load.$1"
    echo "        == $*"
    growth
}

# What the binary knows of this kernel beforehand: what it says while slabinfo cannot be read.
sizes() { awk '/"objects": \{/ { on = 1 } on { print } on && /^    }/ { exit }'; }
knows_this_kernel() {
    roadstead ledger --json | sizes >/tmp/read
    mount --bind /dev/null /proc/slabinfo
    roadstead ledger --json | sizes >/tmp/told
    umount /proc/slabinfo
    [ -s /tmp/read ] && diff /tmp/read /tmp/told
}
# The server's connections, as its ledger counts them.
counts_connections() {
    roadstead ledger --json --connections 1M | awk -v n=$connections '
        /"connections":/ && !seen { seen = 1; gsub(/[^0-9]/, ""); found = $0 }
        END { print found; exit !(found >= n - 4 && found <= n + 4) }'
}
watched_by() { roadstead ledger --json | grep -q "\"watch\": \"$1\""; }
stop() { killall roadstead roadstead-load; wait; }

measure 8001 --engine epoll
check "without a memory control group there is no accounting" few_vectors
mkdir /sys/fs/cgroup/any
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
measure 8002 --engine epoll
check "with one there is, for the root group too" many_vectors
killall roadstead-load
stop

measure 8003 --engine uring --watch poll
check "the ledger counts the connections" counts_connections
check "the ledger knows the poll" watched_by poll
roadstead ledger | sed 's/^/        /'
stop
measure 8004 --engine uring --watch recv
check "the ledger knows the receive" watched_by recv
stop

for module in /modules/*; do insmod "$module"; done
check "what is known of this kernel beforehand is so" knows_this_kernel

echo "$passed passed, $failed failed"
poweroff -f
