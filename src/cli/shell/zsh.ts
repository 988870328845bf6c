/** Completion in zsh: a function a command, by zsh's own _arguments (zshcompsys(1)). */
import { allOf, type Completion, type Flag, type Node, nameOf, type Word } from './tree.js';

/** As a single-quoted word. */
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
/** Of a spec of _arguments: what would end its part. */
const escaped = (text: string) => text.replace(/[\\[\]:]/g, (sign) => `\\${sign}`);

function actionOf(completion: Completion): string {
  switch (completion.kind) {
    case 'words':
      return `(${completion.words.join(' ')})`;
    case 'file':
      return '_files';
    case 'folder':
      return '_files -/';
    case 'interface':
      return '_net_interfaces';
    case 'namespace':
      return '_files -W /run/netns';
    default:
      return ' ';
  }
}

function specOfFlag({ name, value, isValueOptional, does, completion, isRepeated }: Flag): string {
  const many = isRepeated ? '*' : '';
  const behind =
    value === null
      ? ''
      : `${isValueOptional ? '::' : ':'}${escaped(value.slice(1, -1))}:${actionOf(completion)}`;
  return quoted(`${many}${name}[${escaped(does)}]${behind}`);
}

const specOfWord = ({ name, isRequired, completion }: Word): string =>
  quoted(`${isRequired ? ':' : '::'}${escaped(name)}:${actionOf(completion)}`);

const functionOf = ({ path }: Node) => `_${path.join('_').replaceAll('-', '_')}`;

function bodyOf(node: Node): string {
  const flags = node.flags.map(specOfFlag);
  if (node.nodes.length === 0)
    return `  _arguments -S ${[...flags, ...node.words.map(specOfWord)].join(' \\\n    ')}`;
  const names = node.nodes.map((each) => quoted(`${nameOf(each)}:${escaped(each.does)}`));
  return `  local line state
  local -a commands=(
    ${names.join('\n    ')}
  )
  _arguments -C ${[...flags, quoted('1: :->command'), quoted('*:: :->rest')].join(' \\\n    ')}
  case $state in
    command) _describe command commands ;;
    rest)
      case $line[1] in
${node.nodes.map((each) => `        ${nameOf(each)}) ${functionOf(each)} ;;`).join('\n')}
      esac
      ;;
  esac`;
}

export function zshOf(root: Node): string {
  const functions = allOf(root).map((node) => `${functionOf(node)}() {\n${bodyOf(node)}\n}`);
  return `#compdef fantail
# zsh completion for fantail, made by: fantail completions zsh
# Put it into a folder of $fpath, as _fantail

${functions.join('\n\n')}

if [[ $funcstack[1] == _fantail ]]; then
  _fantail "$@"
else
  compdef _fantail fantail
fi
`;
}
