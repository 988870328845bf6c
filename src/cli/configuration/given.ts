/**
 * What the command line has said, in words. Loaded with every command, so it loads next to nothing.
 */
import type { Command } from 'commander';

/** Words of the command line by the name of their key, as they came. */
export type Given = ReadonlyMap<string, readonly string[]>;

/**
 * Called where a command is declared: commander keeps values, and not the words that they are of.
 */
export function keepWords(made: Command): Map<string, string[]> {
  const given = new Map<string, string[]>();
  for (const option of made.options)
    made.on(`option:${option.name()}`, (word: string | null) => {
      given.set(option.name(), [...(given.get(option.name()) ?? []), word ?? 'true']);
    });
  return given;
}

/** The arguments of the command line among those. */
export function givenOf(made: Command, kept: Given): Given {
  const words = made.registeredArguments.map((each, index) => {
    const word = made.args[index];
    return [each.name().replaceAll('_', '-'), word === undefined ? [] : [word]] as const;
  });
  return new Map([...words.filter(([, word]) => word.length > 0), ...kept]);
}
