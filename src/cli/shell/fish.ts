/** Completion in fish: a line for each flag and word, with the command that it is of. */
import { allOf, type Completion, type Node, nameOf, pathText } from './tree.js';

/** As a single-quoted word: fish knows two escapes in it. */
const quoted = (text: string) => `'${text.replace(/[\\']/g, (sign) => `\\${sign}`)}'`;

function answersOf(completion: Completion): string {
  switch (completion.kind) {
    case 'words':
      return `-xa ${quoted(completion.words.join(' '))}`;
    case 'file':
      return '-rF';
    case 'folder':
      return `-xa '(__fish_complete_directories)'`;
    case 'interface':
      return `-xa '(path basename /sys/class/net/* 2>/dev/null; or ls /sys/class/net)'`;
    case 'namespace':
      return `-xa '(ls /run/netns 2>/dev/null)'`;
    default:
      return '-x';
  }
}

function linesOf(node: Node): string[] {
  const at = (count: number | null) =>
    `-n ${quoted(`__fantail_at ${count ?? 'any'} ${pathText(node)}`.trim())}`;
  const flags = node.flags.map(({ name, value, isValueOptional, does, completion }) => {
    const takes = value === null || isValueOptional ? '' : ` ${answersOf(completion)}`;
    return `complete -c fantail ${at(null)} -l ${name.slice(2)} -d ${quoted(does)}${takes}`;
  });
  const commands = node.nodes.map(
    (each) => `complete -c fantail ${at(0)} -a ${nameOf(each)} -d ${quoted(each.does)}`,
  );
  const words = node.words.flatMap(({ completion }, index) => {
    if (completion.kind === 'anything') return [];
    const answers = answersOf(completion)
      .replace(/^-(x|r)/, '-')
      .replace(/^- /, '');
    return [`complete -c fantail ${at(index)} ${answers}`];
  });
  return [...flags, ...commands, ...words];
}

/** `path flag` of each flag that takes a value. */
const valued = (root: Node): string[] =>
  allOf(root).flatMap((node) =>
    node.flags
      .filter(({ value, isValueOptional }) => value !== null && !isValueOptional)
      .map(({ name }) => quoted(`${pathText(node)} ${name}`.trim())),
  );

export function fishOf(root: Node): string {
  const parents = allOf(root).flatMap((node) => node.nodes.map((each) => quoted(pathText(each))));
  return `# fish completion for fantail, made by: fantail completions fish
# Put it into ~/.config/fish/completions/fantail.fish

set -g __fantail_commands ${parents.join(' ')}
set -g __fantail_valued ${valued(root).join(' ')}

# Whether the words so far name that command, with so many arguments behind it (or any).
function __fantail_at
    set -l count 0
    set -l path
    set -l skip no
    for word in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
        else if string match -q -- '--*' $word
            contains -- "$path $word" $__fantail_valued; and set skip yes
            contains -- "$word" $__fantail_valued; and test -z "$path"; and set skip yes
        else if test $count -eq 0; and contains -- (string join ' ' $path $word) $__fantail_commands
            set path (string join ' ' $path $word)
        else
            set count (math $count + 1)
        end
    end
    test "$path" = "$argv[2..-1]"; or return 1
    test $argv[1] = any; or test $argv[1] = $count
end

complete -c fantail -f
${allOf(root).flatMap(linesOf).join('\n')}
`;
}
