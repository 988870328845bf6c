/**
 * `fantail top` on a terminal, as a person sees it: a replicator on a real link with a feed through
 * it, and tmux, whose screen is read and whose keys are pressed.
 *
 * needs: a link
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MAIN, processesWith } from '../rig/program.js';
import { fantail, freePort, type Replicator } from '../rig/replicator.js';
import { copyMode, networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';
import { replicatedRoute, startFeed } from '../rig/wire.js';
import { Tmux } from '../terminal/tmux.js';

const test = suite('top');
/** On the link's subnet, and nobody is there. */
const ABSENT = '10.77.0.250';
/** The end of an escape sequence that sets one. */
const COLOUR = /\[[\d;]*\b(3[0-7]|9[0-7])m/;
/** In the environment of the one that a test ends by a signal. */
const MARK = `FANTAIL_TOP_TEST=${process.pid}`;
const FAST = ['--interval', '0.2'];

async function withTmux(work: (tmux: Tmux) => Promise<void>): Promise<void> {
  const tmux = await Tmux.open(120, 40);
  try {
    // more than the screen holds, so that something has scrolled out
    tmux.enter('i=0; while [ $i -lt 90 ]; do i=$((i+1)); echo "old $i"; done');
    await tmux.shows(/^old 90\nshell>$/m);
    await work(tmux);
  } finally {
    tmux.close();
  }
}

/** Types the command; what stood on the terminal before. */
function startTop(tmux: Tmux, { control }: { control: string }, environment = ''): string[] {
  const before = tmux.history();
  const words = [process.execPath, MAIN, 'top', '--control', `ws://${control}`, ...FAST];
  tmux.enter(`${environment} ${words.join(' ')}; echo status $?`);
  return before;
}

/** A feed that flows until the test ends it. */
async function whileFed(replicator: Replicator, work: () => Promise<void>): Promise<void> {
  const feed = startFeed(replicatedRoute(replicator.link), { rate: 500, count: 500 * 600 });
  try {
    await work();
  } finally {
    await feed.stop();
  }
}

/** The rows of the table of subscribers, from the top: `ip port`. */
const places = (screen: string) =>
  [...screen.matchAll(/^(10\.77\.[\d.]+) +(\d+) /gm)].map(([, ip, port]) => `${ip} ${port}`);

/** All is as it was before the command was typed, what has scrolled out too; nothing came since. */
async function assertRestored(tmux: Tmux, before: readonly string[]): Promise<void> {
  const screen = await tmux.shows(/^status \d+\nshell>$/m);
  assert.match(screen, /^status 0$/m);
  const after = tmux.history();
  assert.equal(after.slice(0, before.length - 1), before.slice(0, -1));
  assert.match(after[before.length - 1] ?? '', /^shell> .* top --control .*; echo status \$\?$/);
  assert.equal(after.slice(before.length), ['status 0', 'shell>']);
  assert.is(tmux.isAlternate(), false);
  assert.is(tmux.hasCursor(), true);
}

networkTest(
  test,
  'it shows rates, latency and drops by name, sorts, filters, scrolls, fits any size, and leaves the screen as it was',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      const subscribers = subscribersOf(5);
      const [first] = subscribers;
      assert.ok(first !== undefined);
      await replicator.subscribe(subscribers);
      await replicator.cli('add', ABSENT, '9000');
      await replicator.cli('pause', first.ip, String(first.port));
      await withTmux((tmux) =>
        whileFed(replicator, async () => {
          const before = startTop(tmux, replicator);
          for (const pattern of [
            /^fantail top {2}rep0 · copy · inline · queues 0 · up \d+ s/,
            /^in +[1-9]\d* packets\/s {2}1 feed$/m,
            /^out +[1-9][\d,]* copies\/s {2}6 subscribers {2}.*paused=1/m,
            /^latency inside p50 [1-9]\S* {2}p99 \S+ {2}p99\.9 \S+ ns/m,
            /^drops +no_neighbour [1-9][\d,]*\/s \([1-9][\d,]*\)/m,
            /^\[subscribers 6\] {2}feeds 1 {2}workers 1 {2}drops/m,
            /^10\.77\S+ +\d+ +live +rewrite +[1-9]\d* +[1-9][\d,]* /m,
            /^10\.77\.0\.250 .* no_neighbour$/m,
          ])
            await tmux.shows(pattern);
          assert.ok(tmux.isAlternate());
          assert.match(tmux.coloured(), COLOUR, 'what drops stands out');

          await sorts(tmux);
          await filters(tmux);
          await shows(tmux);
          await fits(tmux);
          tmux.keys('q');
          await assertRestored(tmux, before);
        }),
      );
    });
  },
);

async function sorts(tmux: Tmux): Promise<void> {
  tmux.keys('1');
  const ascending = places(await tmux.shows(/^ip▲ /m));
  assert.equal(ascending, [...ascending].sort());
  assert.is(ascending.length, 6);
  tmux.keys('r');
  assert.equal(places(await tmux.shows(/^ip▼ /m))[0], ascending.at(-1));
  tmux.keys('Right');
  await tmux.shows(/ port▲ /);
  tmux.keys('Left');
  await tmux.shows(/^ip▲ /m);
}

async function filters(tmux: Tmux): Promise<void> {
  tmux.keys('/');
  tmux.type('PAUS(');
  await tmux.shows(/^\/PAUS\(█$/m);
  assert.match(tmux.screen(), /is no pattern yet/);
  tmux.keys('BSpace');
  await tmux.shows(/^\/PAUS█$/m);
  tmux.keys('Enter');
  const found = places(await tmux.shows(/^\[subscribers 1 of 6\].* filter \/PAUS$/m));
  assert.is(found.length, 1);
  tmux.keys('Escape');
  await tmux.shows(/^\[subscribers 6\]/m);
}

/** The other tables. */
async function shows(tmux: Tmux): Promise<void> {
  tmux.keys('Tab');
  await tmux.shows(/^main +10\.77\.0\.1:9000 +[1-9]\d* +[1-9][\d,]* /m);
  tmux.keys('Tab');
  await tmux.shows(/^0 +\d+ +0 ring +[1-9]/m);
  tmux.keys('Tab');
  await tmux.shows(/^no_neighbour +copies +[1-9]/m);
  tmux.keys('Tab');
  await tmux.shows(/^\[subscribers 6\]/m);
}

/** A screen too small, by which it also scrolls; then a larger one. */
async function fits(tmux: Tmux): Promise<void> {
  tmux.resize(70, 13);
  const small = await tmux.shows(/^\[subscribers 6\].* rows 1 to 3$/m);
  const lines = small.split('\n');
  assert.match(lines[0] ?? '', /^fantail top {2}rep0/, small);
  assert.is(lines.length, 12, 'one row stays empty');
  assert.match(lines.at(-1) ?? '', /^Tab table .*…$/);
  assert.is(places(small).length, 3);
  tmux.keys('PageDown');
  await tmux.shows(/ rows 4 to 6$/m);
  tmux.keys('Up');
  await tmux.shows(/ rows 3 to 5$/m);
  tmux.keys('Home');
  await tmux.shows(/ rows 1 to 3$/m);
  tmux.resize(150, 45);
  const large = await tmux.shows(/^(?=[\s\S]*q quit$)(?![\s\S]* rows \d)fantail top/);
  assert.is(large.split('\n').length, 44, large);
  assert.is(places(large).length, 6);
  assert.is(large.match(/fantail top/g)?.length, 1, 'nothing of the smaller one is left');
}

networkTest(
  test,
  'it says that the replicator is gone, comes back with the next one, honours NO_COLOR, ends on Ctrl-C and signals',
  { queues: 1 },
  async (link) => {
    const control = `127.0.0.1:${await freePort()}`;
    const flags = [...copyMode('inline'), '--control', control];
    await withTmux(async (tmux) => {
      let before: string[] = [];
      await withReplicator({ link, flags }, async (replicator) => {
        await replicator.subscribe(subscribersOf(1));
        await whileFed(replicator, async () => {
          before = startTop(tmux, replicator, 'NO_COLOR=1');
          await tmux.shows(/^out +[1-9]\d* copies\/s {2}1 subscriber /m);
        });
      });
      await tmux.shows(/^no news for [1-9]\d* s, trying again: nothing listens at /m);
      assert.not.match(tmux.coloured(), COLOUR);
      assert.match(tmux.screen(), /^\[subscribers 1\]/m, 'the last figures stay');
      await withReplicator({ link, flags }, async (replicator) => {
        await tmux.shows(/^\[subscribers 0\]/m);
        assert.not.match(tmux.screen(), /no news|-\d/);
        await replicator.subscribe(subscribersOf(2));
        await whileFed(replicator, async () => {
          await tmux.shows(/^out +[1-9][\d,]* copies\/s {2}2 subscribers /m);
        });
        tmux.keys('C-c');
        await assertRestored(tmux, before);
        for (const signal of ['SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
          const again = startTop(tmux, replicator, `${MARK} CI=true`);
          await tmux.shows(/^\[subscribers 2\]/m);
          const [found, ...more] = processesWith(MARK);
          assert.ok(found !== undefined && more.length === 0, signal);
          process.kill(found.pid, signal);
          await assertRestored(tmux, again);
        }
        await silent(tmux, replicator);
      });
    });
  },
);

/** One that is stopped answers nothing, and keeps nobody from ending. */
async function silent(tmux: Tmux, replicator: Replicator): Promise<void> {
  const before = startTop(tmux, replicator);
  await tmux.shows(/^\[subscribers 2\]/m);
  process.kill(replicator.program.pid, 'SIGSTOP');
  try {
    await tmux.shows(/^no news for \d+ s, trying again: it does not answer$/m);
    tmux.keys('q');
    await assertRestored(tmux, before);
  } finally {
    process.kill(replicator.program.pid, 'SIGCONT');
  }
}

test('where there is no terminal, or no replicator, it says what to do and draws nothing', async () => {
  const piped = await fantail(['top']);
  assert.is(piped.end?.status, 1);
  assert.is(piped.stdout, '');
  assert.match(piped.stderr, /^fantail top: it draws on a terminal.*fantail stats --watch/);
  await withTmux(async (tmux) => {
    startTop(tmux, { control: `127.0.0.1:${await freePort()}` });
    const said = await tmux.shows(/^status 1$/m);
    assert.match(said, /^fantail top: nothing listens at .*fantail up/m);
  });
});

test.run();
