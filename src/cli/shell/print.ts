/** `fantail completions`, `fantail man`. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { PROTOCOL_VERSION } from '../../control/constants.js';
import { Failure, messageOf, UsageError } from '../../domain/errors.js';
import { version } from '../../domain/installation.js';
import type { Shell } from '../declarations/shell.js';
import { bashOf } from './bash.js';
import { fishOf } from './fish.js';
import { manOf, pageName } from './man.js';
import { allOf, treeOf } from './tree.js';
import { zshOf } from './zsh.js';

const WRITERS = { bash: bashOf, zsh: zshOf, fish: fishOf } as const;

export function completions(root: Command, shell: Shell): void {
  process.stdout.write(WRITERS[shell](treeOf(root)));
}

export function man(root: Command, names: readonly string[]): void {
  const all = allOf(treeOf(root));
  const wanted = [root.name(), ...names].join(' ');
  const node = all.find(({ path }) => path.join(' ') === wanted);
  if (node === undefined)
    throw new UsageError(`there is no command ${names.join(' ')}`, `${root.name()} --help`);
  process.stdout.write(manOf(node, all));
}

export function manAll(root: Command, folder: string): void {
  const all = allOf(treeOf(root));
  try {
    // not `recursive`, with which Node 20 tries for ever below /proc
    if (!existsSync(folder)) mkdirSync(folder);
    for (const node of all) writeFileSync(join(folder, `${pageName(node)}.1`), manOf(node, all));
  } catch (thrown) {
    throw new Failure(`cannot write the pages: ${messageOf(thrown)}`);
  }
}

export function help(root: Command, names: readonly string[]): void {
  let found = root;
  for (const name of names) {
    const next = found.commands.find((each) => each.name() === name);
    if (next === undefined) throw new UsageError('help: there is no such command');
    found = next;
  }
  found.outputHelp();
}

/** For programs: what may be typed, and what the control channel speaks. */
export function helpJson(root: Command): void {
  const commands = allOf(treeOf(root)).map(({ path, does, flags, words }) => {
    return {
      command: path.join(' '),
      does,
      arguments: words.map(({ name, isRequired, does }) => ({ name, required: isRequired, does })),
      flags: flags.map(({ name, value, does }) => ({ name, value, does })),
    };
  });
  console.log(JSON.stringify({ version, protocol: PROTOCOL_VERSION, commands }));
}
