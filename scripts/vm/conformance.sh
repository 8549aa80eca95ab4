#!/bin/busybox sh
# The init of a guest that run.sh boots: runs test programs, one after the other, and counts the tests.

/bin/busybox --install -s /bin
export PATH=/bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
ip link set lo up

set -o pipefail

passed=0
failed=0
for program in /programs/*; do
    # One test at a time, each named on the console before it starts: one that hangs is the last named. A whole
    # program takes up to a minute and a half; the limit leaves the others their turn.
    timeout 300 "$program" --test-threads 1 2>&1 | tee /tmp/output
    code=$?
    result=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p' /tmp/output)
    if [ "$code" = 0 ] && [ -n "$result" ]; then
        echo "ok      ${program##*/}: ${result%% *} passed"
    else
        echo
        echo "FAILED  ${program##*/} (exit $code, 143 is the time limit), at:"
        grep '^test ' /tmp/output | grep -v ' ok$' | sed 's/^/        /'
        [ -n "$result" ] || result="0 1"
    fi
    passed=$((passed + ${result%% *}))
    failed=$((failed + ${result##* }))
done

echo "$passed passed, $failed failed"
poweroff -f
