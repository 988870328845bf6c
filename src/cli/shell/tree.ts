/** The commands as they are declared, for what is made of them: completions and manual pages. */
import type { Argument, Command, Option } from 'commander';
import { RepeatedOption } from '../program.js';

/** What may stand there, as far as a shell can tell. */
export type Completion =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'file' | 'folder' | 'interface' | 'namespace' | 'anything' };

export interface Flag {
  /** `--mode`. */
  readonly name: string;
  /** `<mode>`, as the help has it; null: it takes none. */
  readonly value: string | null;
  readonly isValueOptional: boolean;
  readonly does: string;
  readonly completion: Completion;
  readonly isRepeated: boolean;
  /** The heading that the help has over it; empty: none of its own. */
  readonly group: string;
}

export interface Word {
  /** `listen_ip`. */
  readonly name: string;
  readonly isRequired: boolean;
  readonly does: string;
  readonly completion: Completion;
}

export interface Node {
  /** `fantail`, `filter`, `use`. */
  readonly path: readonly string[];
  readonly does: string;
  /** What follows the flags and arguments in its help. */
  readonly notes: string;
  readonly flags: readonly Flag[];
  readonly words: readonly Word[];
  readonly nodes: readonly Node[];
}

/** `words`: of a parser that takes only those. */
function completionOf(name: string, parse: unknown): Completion {
  if (typeof parse === 'function' && 'words' in parse)
    return { kind: 'words', words: parse.words as string[] }; // as oneOf() has made it
  if (/^file|\.wasm|\.pcap/.test(name)) return { kind: 'file' };
  if (name === 'folder') return { kind: 'folder' };
  if (name === 'interface') return { kind: 'interface' };
  return { kind: 'anything' };
}

function flagOf(option: Option): Flag {
  const value = /[<[](\S+)[>\]]/.exec(option.flags);
  const name = option.long ?? option.flags;
  const { parseArg, defaultValue, description } = option;
  const isNamespace = name === '--netns';
  const fallback = defaultValue === undefined ? '' : ` (default: ${defaultValue})`;
  return {
    name,
    value: value?.[0] ?? null,
    isValueOptional: option.optional,
    does: `${description}${fallback}`,
    completion: isNamespace ? { kind: 'namespace' } : completionOf(value?.[1] ?? '', parseArg),
    isRepeated: option instanceof RepeatedOption,
    group: option.helpGroupHeading ?? '',
  };
}

function wordOf(argument: Argument): Word {
  const { parseArg, description, required } = argument;
  const name = argument.name();
  return {
    name,
    isRequired: required,
    does: description,
    completion: completionOf(name, parseArg),
  };
}

const HELP: Flag = {
  name: '--help',
  value: null,
  isValueOptional: false,
  does: 'print this help',
  completion: { kind: 'anything' },
  isRepeated: false,
  group: '',
};

/** What commander prints behind the help itself. */
function notesOf(made: Command): string {
  let text = '';
  const output = made.configureOutput();
  made.configureOutput({ ...output, writeOut: (part) => (text += part) });
  made.outputHelp();
  made.configureOutput(output);
  return text.slice(made.helpInformation().length).trim();
}

export function treeOf(made: Command, above: readonly string[] = []): Node {
  const path = [...above, made.name()];
  return {
    path,
    does: made.description(),
    notes: notesOf(made),
    flags: [...made.options.map(flagOf), HELP],
    words: made.registeredArguments.map(wordOf),
    nodes: made.commands.map((each) => treeOf(each, path)),
  };
}

/** A command and all below it. */
export const allOf = (node: Node): Node[] => [node, ...node.nodes.flatMap(allOf)];

export const nameOf = ({ path }: Node): string => path.at(-1) ?? '';

/** `up`, `filter use`: without the program. */
export const pathText = ({ path }: Node): string => path.slice(1).join(' ');
