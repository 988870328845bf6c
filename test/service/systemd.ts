/**
 * A systemd of the test's own, as process 1 of namespaces: the same program, the same sandbox, and
 * no unit but those of a test. It sees the network namespace that it is started in, and neither the
 * machine's own systemd nor its /run, /var and /tmp.
 *
 *     /mnt/clone     this clone
 *     /mnt/bin       in its PATH: the Node that runs the tests, and fantail
 *     /mnt/given     a folder of the test: units, configuration, what services print
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd, eventually, Program, processesWith, ROOT, run } from '../rig/program.js';

const SYSTEMD = '/lib/systemd/systemd';
/** Targets that every unit depends on, whatever it is. */
const TARGETS = ['sysinit', 'basic', 'shutdown', 'network-online', 'multi-user', 'default'];

/** Made in a mount namespace of its own: nothing of it is seen elsewhere. */
const PREPARE = `set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/clone /mnt/given /mnt/cgroup /mnt/bin
touch /mnt/bin/node
ln -s /mnt/clone/build/programs/main.js /mnt/bin/fantail
mount --bind "$1" /mnt/clone
mount --bind "$2" /mnt/bin/node
mount --bind "$3" /mnt/given
mount -t cgroup2 none /mnt/cgroup
mkdir -p "/mnt/cgroup/$4"
echo $$ > "/mnt/cgroup/$4/cgroup.procs"
exec unshare --cgroup --pid --fork --kill-child --mount-proc sh -c "$5" sh "$4"`;
const BOOT = `set -e
umount /mnt/cgroup
for place in /run /var /tmp; do mount -t tmpfs none "$place"; done
mount -t cgroup2 none /sys/fs/cgroup
exec env -i PATH=/usr/sbin:/usr/bin container="$1" SYSTEMD_UNIT_PATH=/mnt/given/units ${SYSTEMD} --system --log-target=console`;
/** Removes what it had in the machine's own hierarchy of control groups. */
const SWEEP = `mount --make-rprivate /
mount -t cgroup2 none /mnt
for try in 1 2 3 4 5 6 7 8 9 10; do
  test -d "/mnt/$1" || exit 0
  find "/mnt/$1" -depth -type d -exec rmdir {} + 2>/dev/null
  sleep 0.2
done
test ! -d "/mnt/$1"`;

export class Systemd {
  readonly folder = mkdtempSync(join(tmpdir(), 'fantail-systemd-'));
  private readonly group = `fantail-test-${process.pid}`;
  private program: Program | null = null;
  readonly close: () => void;

  /** `units` and `configuration`: texts by path below their folder. */
  constructor(
    units: Readonly<Record<string, string>>,
    configuration: Readonly<Record<string, string>>,
  ) {
    const targets = TARGETS.map((name) => [
      `${name}.target`,
      `[Unit]\nDescription=${name}\nDefaultDependencies=no\n`,
    ]);
    const files: Record<string, Readonly<Record<string, string>>> = {
      units: { ...Object.fromEntries(targets), ...units },
      configuration,
    };
    for (const [kind, texts] of Object.entries(files))
      for (const [name, text] of Object.entries(texts)) {
        mkdirSync(join(this.folder, kind, name, '..'), { recursive: true });
        writeFileSync(join(this.folder, kind, name), text);
      }
    this.close = atEnd(() => this.end());
  }

  /** In that network namespace; until it answers. */
  async boot(namespace: string): Promise<void> {
    const words = [ROOT, process.execPath, this.folder, this.group, BOOT];
    this.program = new Program('unshare', ['--mount', 'sh', '-c', PREPARE, 'sh', ...words], {
      group: true,
      namespace,
    });
    await eventually('systemd answers', () => {
      try {
        return /running/.test(this.systemctl('is-system-running', '--wait'));
      } catch {
        return false;
      }
    });
  }

  /** Throws with what it says where it fails. */
  systemctl(...words: string[]): string {
    return run('nsenter', ['-t', String(this.first()), '-m', '-p', 'systemctl', ...words]);
  }

  /** A property of a unit. */
  shown(unit: string, property: string): string {
    return this.systemctl('show', '--value', '-p', property, unit).trim();
  }

  /** Runs fantail where units see it: /mnt/clone, by the Node in /mnt/bin. */
  fantail(...words: string[]): string {
    const all = ['/mnt/bin/node', '/mnt/clone/build/programs/main.js', ...words];
    return run('nsenter', ['-t', String(this.first()), '-m', '-p', ...all]);
  }

  told(): string {
    return this.program?.told() ?? '';
  }

  private first(): number {
    const found = processesWith(`container=${this.group}`).find(({ command }) =>
      command.startsWith(SYSTEMD),
    );
    if (found === undefined) throw new Error(`systemd does not run: ${this.told()}`);
    return found.pid;
  }

  private end(): void {
    this.program?.close();
    run('unshare', ['--mount', 'sh', '-c', SWEEP, 'sh', this.group]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
