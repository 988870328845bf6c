/**
 * What a configuration file may say of `up`: derived from how that is declared, so that there is no
 * second list. The file has sections beside these: see sections.ts.
 */
import type { Argument, Command, Option } from 'commander';
import { RepeatedOption } from '../program.js';

export interface Key {
  /** As the file has it: a flag without its dashes, an argument with them. */
  readonly name: string;
  /** As the command line's sentences have it: `--mode`, `listen_ip`. */
  readonly called: string;
  /** Of the flags that the command's action gets; null: it is an argument. */
  readonly attribute: string | null;
  /** A switch is true or false; `list`: words with commas between them, or a list of them. */
  readonly kind: 'switch' | 'word' | 'list' | 'repeated';
  /** It is the path of a file. */
  readonly isFile: boolean;
  /** A word → its value, behind those of the words before it where it is repeated. */
  readonly parse: (word: string, before: unknown) => unknown;
  /** The value where nobody has given one. */
  readonly fallback: unknown;
}

/** Flags that say nothing of the replicator. */
const OTHERS = new Set(['--config', '--version']);

const asWritten = (word: string): unknown => word;

function keyOfArgument({ name, parseArg }: { name(): string; parseArg?: unknown }): Key {
  return {
    name: name().replaceAll('_', '-'),
    called: name(),
    attribute: null,
    kind: 'word',
    isFile: false,
    parse: (parseArg as Key['parse'] | undefined) ?? asWritten, // commander's own field
    fallback: undefined,
  };
}

function keyOfOption(option: Option): Key {
  const takesList = /<list>/.test(option.flags);
  const ofWord = takesList ? 'list' : 'word';
  const ofValue = option instanceof RepeatedOption ? 'repeated' : ofWord;
  return {
    name: option.name(),
    called: option.long ?? option.name(),
    attribute: option.attributeName(),
    kind: option.isBoolean() ? 'switch' : ofValue,
    isFile: /<file/.test(option.flags),
    parse: option.parseArg ?? asWritten,
    fallback: option.defaultValue,
  };
}

/** In the order of the command's help. */
export function keysOf(made: Command): Key[] {
  const ofArguments = made.registeredArguments.map((each: Argument) =>
    keyOfArgument({ name: () => each.name(), parseArg: each.parseArg }),
  );
  const options = made.options.filter(({ long }) => long !== undefined && !OTHERS.has(long));
  return [...ofArguments, ...options.map(keyOfOption)];
}
