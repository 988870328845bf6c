# The machine that the pages tell of, for test/docs/typed.test.ts. Runs in PID and mount namespaces
# of its own, so that what is typed reaches nothing of the real one, and all of it goes with this
# process. $1: a folder of the test's own; $2: the project; $3: node.
#
#   namespace host                        namespace net
#   eth1  10.0.0.5/24  <──── veth ────>   eth0  10.0.0.9 (feed), .34, .35 (subscribers)
#
# Reads lines NAMESPACE FILE from stdin, runs each file there by bash, and answers `done NAME STATUS`.
set -eu
work=$1 project=$2 node=$3

# Files that pages write: /etc is a copy, /var/lib/fantail is empty.
mkdir "$work/etc" "$work/bin" "$work/ups" "$work/here"
cp -a /etc/. "$work/etc"
mkdir -p "$work/etc/fantail" "$work/etc/bash_completion.d" "$work/etc/systemd/system"
mount --bind "$work/etc" /etc
mkdir -p /run/netns && mount -t tmpfs none /run/netns
mount -t tmpfs none /var/lib && mkdir /var/lib/fantail

# One that goes on (`up`) is started in the background, and typing goes on once it is ready; it ends
# before a later block starts another.
cat > "$work/bin/start" <<END
#!/bin/bash
program=\$1 block=\$2; shift 2
for pid in \$(grep -Lx "\$block" $work/ups/*.block 2>/dev/null | sed 's/\.block$//'); do
  kill "\$(cat "\$pid.pid")" 2>/dev/null || true
  while kill -0 "\$(cat "\$pid.pid")" 2>/dev/null; do sleep 0.02; done
  rm -f "\$pid".*
done
name=$work/ups/\$\$
setsid $node "\$program" "\$@" > "\$name.out" 2> "\$name.err" < /dev/null &
echo \$! > "\$name.pid"; echo "\$block" > "\$name.block"
until grep -q '^ready ' "\$name.out"; do
  kill -0 "\$(cat "\$name.pid")" 2>/dev/null || { cat "\$name.err" >&2; exit 1; }
  sleep 0.02
done
END
for name in fantail packet_replicator control_client test_client market_data_provider_client; do
  program=$project/build/programs/$([ $name = fantail ] && echo main || echo bin/$name).js
  case $name in
    fantail) goes_on='"$1" = up' ;;
    packet_replicator) goes_on='1 = 1' ;;
    *) goes_on='1 = 0' ;;
  esac
  cat > "$work/bin/$name" <<END
#!/bin/bash
[ $goes_on ] && exec $work/bin/start $program "\$BLOCK" "\$@"
$node $program "\$@" 2> $work/\$\$.err; status=\$?
cat $work/\$\$.err >&2
# who types goes on: workers of a machine that is busy follow later
grep -q 'the change is applied as soon as it does' $work/\$\$.err && exit 0
exit \$status
END
done
# npx runs what a clone links, which is that program
cat > "$work/bin/npx" <<END
#!/bin/bash
[ "\$1" = fantail ] && shift && exec $work/bin/fantail "\$@"
exec $(dirname "$node")/npx "\$@"
END
chmod +x "$work"/bin/*

ip netns add host
ip netns add net
queues="numrxqueues 2 numtxqueues 2"
ip -n host link add eth1 $queues type veth peer name eth0 $queues netns net
ip -n host addr add 10.0.0.5/24 dev eth1
for address in 10.0.0.9 10.0.0.34 10.0.0.35; do ip -n net addr add $address/24 dev eth0; done
for each in "host lo" "host eth1" "net lo" "net eth0"; do
  set -- $each
  ip -n "$1" link set "$2" up
done
ip netns exec net ethtool -K eth0 gro on # takes what bulk transmit sends
ln -s "$project/node_modules" "$work/here/node_modules"
export PATH=$work/bin:$PATH
cd "$work/here"
echo ready
while read -r namespace file; do
  status=0
  BLOCK=$file ip netns exec "$namespace" bash -eo pipefail "$file" < /dev/null || status=$?
  printf '\ndone %s %s\n' "${file##*/}" $status
done
