# The machine that the pages tell of, for test/docs/typed.test.ts. Runs in PID, mount and network
# namespaces of its own, so that what is typed reaches nothing of the real one, and all of it goes
# with this process. $1: a folder of the test's own; $2: the project; $3: node.
#
#   host: this namespace                  net: a named one
#   eth1  10.0.0.5/24  <──── veth ────>   eth0  10.0.0.9 (feed), .34, .35 (subscribers)
#
# Reads lines SIDE BLOCK FILE from stdin, runs each file there by bash, and answers
# `done NAME STATUS`.
set -eu
work=$1 project=$2 node=$3

# Files that pages write: /etc is a copy, /var/lib/fantail is empty.
mkdir "$work/etc" "$work/bin" "$work/ups" "$work/here"
mkfifo "$work/keys"
cp -a /etc/. "$work/etc"
mkdir -p "$work/etc/fantail" "$work/etc/bash_completion.d" "$work/etc/systemd/system"
mount --bind "$work/etc" /etc
mkdir -p /run/netns && mount -t tmpfs none /run/netns
mount -t tmpfs none /var/lib && mkdir /var/lib/fantail

# One that goes on (`up`, the demo) is started in the background, and typing goes on once it is ready;
# it ends before another block starts another.
cat > "$work/bin/start" <<END
#!/bin/bash
program=\$1 block=\$2; shift 2
for pid in \$(grep -Lx "\$block" $work/ups/*.block 2>/dev/null | sed 's/\.block$//'); do
  kill "\$(cat "\$pid.pid")" 2>/dev/null || true
  while kill -0 "\$(<"\$pid.pid")" 2>/dev/null; do read -rt 0.05 <> "$work/keys" || true; done
  rm -f "\$pid".*
done
name=$work/ups/\$\$
setsid $node "\$program" "\$@" > "\$name.out" 2> "\$name.err" < /dev/null &
echo \$! > "\$name.pid"; echo "\$block" > "\$name.block"
until [[ \$'\n'\$(<"\$name.out") =~ \$'\n'(ready |fantail demo: ) ]]; do
  kill -0 "\$(<"\$name.pid")" 2>/dev/null || { cat "\$name.err" >&2; exit 1; }
  read -rt 0.05 <> "$work/keys" || true # a pause without a process
done
END
for name in fantail packet_replicator control_client test_client market_data_provider_client; do
  program=$project/build/programs/$([ $name = fantail ] && echo main || echo bin/$name).js
  case $name in
    fantail) goes_on='"$1" = up -o "$1" = demo' ;;
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
# it has found something in whatever machine this is
[ "$name \$1 \$status" = 'fantail doctor 1' ] && exit 0
exit \$status
END
done
# npx runs what a clone links, which are those programs, and what its packages bring
cat > "$work/bin/npx" <<END
#!/bin/bash
program=\$1; shift
[ -x "$work/bin/\$program" ] && exec "$work/bin/\$program" "\$@"
[ "\$program" = wscat ] || { echo "npx \$program: nobody types that here" >&2; exit 1; }
# who types goes on once there is an answer, however long wscat would wait
said=$work/\$\$.said
"$project/node_modules/.bin/wscat" "\$@" -w 60 <&0 > "\$said" & pid=\$!
until grep -qE '^(< )?(ok|error) |^(< )?ok\$|"ok":' "\$said"; do
  kill -0 \$pid 2>/dev/null || exit 1
  sleep 0.1
done
kill \$pid; cat "\$said"
END
# what tools/start.mjs starts; it builds first, and that is done for all tests
cat > "$work/bin/npm" <<END
#!/bin/bash
[ "\$1" = start ] || { echo "npm \$*: nobody types that here" >&2; exit 1; }
shift; [ "\$1" = -- ] && shift
case "\$1" in
  '' | -*) exec $work/bin/fantail demo "\$@" ;;
  *) exec $work/bin/fantail up "\$@" ;;
esac
END
chmod +x "$work"/bin/*

mount -t sysfs none /sys # with the interfaces of this namespace
ip netns add net
queues="numrxqueues 2 numtxqueues 2"
ip link add eth1 $queues type veth peer name eth0 $queues netns net
ip addr add 10.0.0.5/24 dev eth1
for address in 10.0.0.9 10.0.0.34 10.0.0.35; do ip -n net addr add $address/24 dev eth0; done
for name in lo eth1; do ip link set $name up; done
for name in lo eth0; do ip -n net link set $name up; done
ip netns exec net ethtool -K eth0 gro on # takes what bulk transmit sends
mkdir "$work/here/node_modules"
ln -s "$project"/node_modules/* "$work/here/node_modules"
ln -s "$project" "$work/here/node_modules/fantail"
exec 7<> "$work/keys" # nobody types, and the end of it does not come
export PATH=$work/bin:$PATH PROJECT=$project
cd "$work/here"
echo ready
while read -r side block file; do
  status=0 there=
  [ "$side" = net ] && there='ip netns exec net'
  BLOCK=$block $there bash -eo pipefail "$file" <&7 || status=$?
  printf '\ndone %s %s\n' "${file##*/}" $status
done
