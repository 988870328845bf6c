/**
 * `npm run setup`: the system packages that building and running need.
 *
 * Runs on a bare clone, so it may use nothing but Node itself. Looks for what each package brings
 * (a program or a header), and installs only the packages whose piece is missing: with apt-get or
 * dnf if it is root, else it prints the one line to run and exits 1. `--check` never installs. When
 * all is there it takes a few milliseconds. `--package` is for who installs fantail as a package:
 * it looks for what compiles, alone, and says what is missing in one line; with `--list` besides it
 * looks for nothing and prints Debian's names of it, for who makes an image.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Oldest Node with the flags and the Wasm trap behaviour that fantail relies on. */
const NODE_MAJOR_MIN = 20;

/**
 * What must exist (any one of `pieces`), and the package that brings it under each package manager.
 * `isForTests`: the demo and tests want it, and the programs are compiled without.
 */
const NEEDS = [
  { pieces: ['bin:make'], apt: 'make', dnf: 'make', why: 'builds the native programs' },
  { pieces: ['bin:g++'], apt: 'g++', dnf: 'gcc-c++', why: 'compiles C++20' },
  { pieces: ['bin:clang'], apt: 'clang', dnf: 'clang', why: 'compiles the XDP program' },
  {
    isForTests: true,
    pieces: ['bin:wasm-ld'],
    apt: 'lld',
    dnf: 'lld',
    why: 'links filters that are written in C',
  },
  {
    pieces: ['include:bpf/libbpf.h'],
    apt: 'libbpf-dev',
    dnf: 'libbpf-devel',
    why: 'loads the XDP program',
  },
  {
    pieces: ['include:libelf.h', 'include:elfutils/libelf.h'],
    apt: 'libelf-dev',
    dnf: 'elfutils-libelf-devel',
    why: 'libbpf needs it',
  },
  { pieces: ['include:zlib.h'], apt: 'zlib1g-dev', dnf: 'zlib-devel', why: 'libbpf needs it' },
  {
    pieces: ['include:libmnl/libmnl.h'],
    apt: 'libmnl-dev',
    dnf: 'libmnl-devel',
    why: 'reads routes and neighbours',
  },
  {
    pieces: ['include:nlohmann/json.hpp'],
    apt: 'nlohmann-json3-dev',
    dnf: 'json-devel',
    why: 'reads and writes the messages of fantail-rx',
  },
  {
    pieces: ['include:cap-ng.h'],
    apt: 'libcap-ng-dev',
    dnf: 'libcap-ng-devel',
    why: 'drops privileges',
  },
  {
    pieces: ['include:seccomp.h'],
    apt: 'libseccomp-dev',
    dnf: 'libseccomp-devel',
    why: 'restricts system calls',
  },
  {
    pieces: ['include:linux/if_xdp.h'],
    apt: 'linux-libc-dev',
    dnf: 'kernel-headers',
    why: "the kernel's interfaces",
  },
  {
    isForTests: true,
    pieces: ['bin:ip'],
    apt: 'iproute2',
    dnf: 'iproute',
    why: 'makes the virtual link of the demo and the tests',
  },
  {
    isForTests: true,
    pieces: ['bin:ethtool'],
    apt: 'ethtool',
    dnf: 'ethtool',
    why: 'tells and sets the queues of a card',
  },
  {
    isForTests: true,
    pieces: ['bin:openssl'],
    apt: 'openssl',
    dnf: 'openssl',
    why: 'makes the certificate of a test',
  },
  {
    isForTests: true,
    pieces: ['bin:tmux'],
    apt: 'tmux',
    dnf: 'tmux',
    why: 'a test looks at fantail top in it',
  },
  {
    isForTests: true,
    pieces: ['bin:systemd-analyze'],
    apt: 'systemd',
    dnf: 'systemd',
    why: 'a test runs the unit under it',
  },
];

function isProgram(name) {
  // A user's PATH often lacks the sbin folders, where `ip` may live.
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    '/usr/sbin',
    '/sbin',
    '/usr/bin',
    '/bin',
  ];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function includeFolders() {
  const folders = ['/usr/include', '/usr/local/include'];
  try {
    // Debian keeps some headers in a folder named by the machine, such as
    // /usr/include/x86_64-linux-gnu.
    for (const entry of readdirSync('/usr/include')) {
      if (entry.includes('-linux-gnu')) folders.push(join('/usr/include', entry));
    }
  } catch {
    // No /usr/include: every header is missing, and is reported as such.
  }
  return folders;
}

const includes = includeFolders();

function isThere(piece) {
  const [kind, name] = piece.split(':');
  return kind === 'bin'
    ? isProgram(name)
    : includes.some((folder) => existsSync(join(folder, name)));
}

const isForPackage = process.argv.includes('--package');
const wanted = NEEDS.filter((need) => !(isForPackage && need.isForTests === true));
const missingNeeds = () => wanted.filter((need) => !need.pieces.some(isThere));

/** The commands that install `needs` here, or null where neither package manager exists. */
function installation(needs) {
  if (isProgram('apt-get')) {
    const packages = needs.map((need) => need.apt);
    return [
      ['apt-get', 'update', '-qq'],
      ['apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...packages],
    ];
  }
  if (isProgram('dnf')) return [['dnf', 'install', '-y', '-q', ...needs.map((need) => need.dnf)]];
  return null;
}

function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}

function install(commands) {
  for (const [program, ...args] of commands) {
    say(`${program} ${args.join(' ')}`);
    const { status, error } = spawnSync(program, args, {
      // Package managers report to the same place as we do: stdout stays free for whoever called
      // us.
      stdio: ['ignore', process.stderr, process.stderr],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    if (status !== 0) {
      // A failing update is not the end: an old package list often has what is needed.
      if (args[0] === 'update')
        say('the package lists could not be renewed; trying with the present ones');
      else return error?.message ?? `${program} failed with status ${status}`;
    }
  }
  return null;
}

const isRoot = process.getuid?.() === 0;

/** As it is typed; root needs no sudo, and a bare machine has none. */
const lineOf = (commands) =>
  commands.map((command) => `${isRoot ? '' : 'sudo '}${command.join(' ')}`).join(' && ');

/** All that is missing, and the line that brings it, as one. */
function sayMissing(missing) {
  const names = missing.map((need) => need.apt).join(', ');
  const commands = installation(missing);
  const line = commands === null ? undefined : lineOf(commands);
  say(
    `missing to compile fantail: ${names}; ${line === undefined ? 'install them' : `run: ${line}`}`,
  );
  return 1;
}

function setup() {
  if (process.argv.includes('--list')) {
    console.log(wanted.map((need) => need.apt).join(' '));
    return 0;
  }
  const [major] = process.versions.node.split('.').map(Number);
  if (major < NODE_MAJOR_MIN) {
    say(
      `Node ${NODE_MAJOR_MIN} or newer is needed, this is ${process.versions.node}; install it from nodejs.org`,
    );
    return 1;
  }
  const missing = missingNeeds();
  if (missing.length === 0) {
    if (process.env.npm_lifecycle_event === 'setup') say('all system packages are there');
    return 0;
  }
  if (isForPackage) return sayMissing(missing);
  for (const need of missing) say(`missing: ${need.apt} (${need.why})`);
  const commands = installation(missing);
  if (commands === null) {
    say('neither apt-get nor dnf is here; install the packages named above by hand');
    return 1;
  }
  if (!isRoot || process.argv.includes('--check')) {
    say(`run:  ${lineOf(commands)}`);
    return 1;
  }
  const failure = install(commands);
  const still = missingNeeds();
  if (still.length > 0) {
    say(`${failure ?? 'installed'}, but still missing: ${still.map((need) => need.apt).join(' ')}`);
    return 1;
  }
  say('done');
  return 0;
}

const WORDS = ['--check', '--package', '--list'];
const unknown = process.argv.slice(2).filter((argument) => !WORDS.includes(argument));
if (unknown.length > 0) {
  say(
    `unknown argument ${unknown[0]}; there are --check (look, do not install), --package (what compiles, in a line) and --list (names, and no more)`,
  );
  process.exit(2);
}
process.exit(setup());
