/**
 * Who may do what once a replicator runs: a user for each kind of process, and no capabilities in
 * any thread.
 *
 * needs: a link
 */
import { readdirSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stock } from '../filters/loading.js';
import { moduleOf } from '../filters/modules.js';
import { eventually, type Process } from '../rig/program.js';
import type { Replicator } from '../rig/replicator.js';
import { LAYOUTS, networkTest, withReplicator } from '../rig/scenario.js';

const test = suite('privileges');
/** Who runs what is run without root (test/rig/replicator.ts). */
const NOBODY = '65534';
/** As native/host/privileges.hpp has them. */
const USERS = { rx: '65521', tx: '65522', check: '65523' };

/** Of the processes that try a module; the clone itself may lie in a folder of any name. */
const TRIES = /build\/programs\/filters\/check\//;

/** What /proc/PID/task/TID/status says of each thread: its users, its capabilities. */
function threadsOf(pid: number): Record<string, string>[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const text = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
    return Object.fromEntries(
      text.split('\n').map((line) => line.split(/:\s+/) as [string, string]),
    );
  });
}

function assertPowerless({ pid, command }: Process, user: string): void {
  for (const thread of threadsOf(pid)) {
    const what = `${command}, thread ${thread.Name}`;
    for (const ids of [thread.Uid, thread.Gid])
      assert.is(ids?.replaceAll('\t', ' '), [user, user, user, user].join(' '), what);
    assert.is(thread.Groups?.trim() ?? '', '', what);
    // one that is only inheritable gives nothing: no program gains any by no_new_privs
    for (const set of ['CapPrm', 'CapEff', 'CapAmb'])
      assert.match(thread[set] ?? '', /^0+$/, `${set} of ${what}`);
    assert.is(thread.NoNewPrivs, '1', what);
    assert.is(thread.Seccomp, '2', what); // a filter: proc(5)
  }
}

const named = (replicator: Replicator, pattern: RegExp) =>
  replicator.processes().filter(({ command }) => pattern.test(command));

for (const layout of LAYOUTS)
  networkTest(
    test,
    `each kind of process has a user of its own, and no thread has a capability: ${layout}`,
    { queues: 1 },
    async (link) => {
      const flags = ['--mode', 'copy', '--layout', layout];
      await withReplicator({ link, flags }, async (replicator) => {
        const look = () => {
          for (const one of named(replicator, /fantail-rx/)) assertPowerless(one, USERS.rx);
          for (const one of named(replicator, /fantail-tx/)) assertPowerless(one, USERS.tx);
          assert.is(named(replicator, /fantail-[rt]x/).length, 2);
        };
        look();
        // with a filter compiled by a thread of its own, and in those that come later
        const module = Buffer.from(stock('dscp-ttl')).toString('base64');
        await replicator.change({ op: 'filter.load', name: 'marked', module });
        look();
        const before = named(replicator, /fantail-[rt]x/);
        for (const { pid } of before) process.kill(pid, 'SIGKILL');
        await eventually('both are replaced', async () => {
          const { workers } = await replicator.stats();
          const now = named(replicator, /fantail-[rt]x/).map(({ pid }) => pid);
          const isNew = now.length === 2 && before.every(({ pid }) => !now.includes(pid));
          return isNew && workers.every(({ pid }) => now.includes(pid));
        });
        await eventually('they have given up what they may', () => {
          try {
            look();
            return true;
          } catch {
            return false;
          }
        });
      });
    },
  );

networkTest(
  test,
  'without root, by ambient capabilities, it runs in copy mode, and no thread of the data path keeps any',
  { queues: 1 },
  async (link) => {
    const options = {
      link,
      unprivileged: true,
      capabilities: ['net_admin', 'net_raw', 'bpf', 'perfmon', 'ipc_lock'],
      flags: ['--mode', 'copy', '--layout', 'split', '--filter', 'build/filters/dscp-ttl.wasm'],
    };
    await withReplicator(options, async (replicator) => {
      const look = () => {
        const found = named(replicator, /fantail-[rt]x/);
        for (const one of found) assertPowerless(one, NOBODY);
        assert.is(found.length, 2);
      };
      look();
      for (const { pid } of named(replicator, /fantail-tx/)) process.kill(pid, 'SIGKILL');
      await eventually('a worker that starts later has none either', async () => {
        try {
          look();
          return (await replicator.stats()).workers[0]?.restarts === 1;
        } catch {
          return false;
        }
      });
    });
  },
);

networkTest(
  test,
  'a module is tried by a process that may do nothing, and is none of the others’ user',
  { queues: 1 },
  async (link) => {
    const flags = ['--mode', 'copy', '--layout', 'inline'];
    await withReplicator({ link, flags }, async (replicator) => {
      const endless = moduleOf('(loop $on (br $on))'); // for a second, on samples
      const module = Buffer.from(endless).toString('base64');
      const loading = replicator.ask({ op: 'filter.load', name: 'endless', module });
      loading.catch(() => {}); // awaited below
      await eventually('it is tried', () => {
        try {
          const [child] = named(replicator, TRIES);
          if (child === undefined) return false;
          assertPowerless(child, USERS.check);
          return true;
        } catch {
          return false; // it is still loading its code, or has ended
        }
      });
      await loading.then(
        () => assert.unreachable('it was accepted'),
        (error) => assert.match(String(error), /does not return within 1000 ms/),
      );
      assert.is(named(replicator, TRIES).length, 0, 'nothing of it is left');
    });
  },
);

test.run();
