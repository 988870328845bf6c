/**
 * Completion in bash, which needs nothing but bash itself: the function walks the words to the
 * command that they name, and looks up in two tables what may follow.
 */
import { allOf, type Completion, type Node, nameOf, pathText } from './tree.js';

/** As a single-quoted word. */
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** `words auto copy`, `file`: what the function hands to compgen. */
const taskOf = (completion: Completion): string =>
  completion.kind === 'words' ? `words ${completion.words.join(' ')}` : completion.kind;

/** Rows of `case "$1" in`: what a flag of a command takes, what its n-th argument is. */
function rowsOf(node: Node): string[] {
  const path = pathText(node);
  const flags = node.flags
    .filter(({ value, isValueOptional }) => value !== null && !isValueOptional)
    .map(
      ({ name, completion }) =>
        `    ${quoted(`${path} ${name}`)}) echo ${quoted(taskOf(completion))} ;;`,
    );
  const words = node.words.map(
    ({ completion }, index) =>
      `    ${quoted(`${path} ${index}`)}) echo ${quoted(taskOf(completion))} ;;`,
  );
  return [...flags, ...words];
}

export function bashOf(root: Node): string {
  const nodes = allOf(root);
  const parents = nodes.filter(({ nodes }) => nodes.length > 0);
  return `# bash completion for fantail, made by: fantail completions bash
# Put it where your shell reads it, such as ~/.local/share/bash-completion/completions/fantail

_fantail_commands() {
  case "$1" in
${parents.map((node) => `    ${quoted(pathText(node))}) echo ${quoted(node.nodes.map(nameOf).join(' '))} ;;`).join('\n')}
  esac
}

_fantail_flags() {
  case "$1" in
${nodes.map((node) => `    ${quoted(pathText(node))}) echo ${quoted(node.flags.map(({ name }) => name).join(' '))} ;;`).join('\n')}
  esac
}

_fantail_takes() {
  case "$1" in
${nodes.flatMap(rowsOf).join('\n')}
  esac
}

# What a folder has that begins so. compgen -W would run a name such as $(reboot).
_fantail_names() {
  local name
  for name in "$1"/*; do
    [[ -e $name ]] || continue
    name=\${name##*/}
    [[ $name == "$2"* ]] || continue
    printf -v name %q "$name"
    COMPREPLY+=("$name")
  done
}

_fantail() {
  local current=\${COMP_WORDS[COMP_CWORD]} path='' count=0 task='' index word
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ -n $task ]]; then
      task=''
    elif [[ $word == --* ]]; then
      task=$(_fantail_takes "$path $word")
    elif [[ $count == 0 && " $(_fantail_commands "$path") " == *" $word "* ]]; then
      path=\${path:+$path }$word
    else
      ((count++))
    fi
  done
  if [[ -z $task && $current == -* ]]; then
    task="words $(_fantail_flags "$path")"
  elif [[ -z $task ]]; then
    task=$(_fantail_takes "$path $count")
    [[ -n $task || $count != 0 ]] || task="words $(_fantail_commands "$path")"
  fi
  case $task in
    'words '*) mapfile -t COMPREPLY < <(compgen -W "\${task#words }" -- "$current") ;;
    file) mapfile -t COMPREPLY < <(compgen -f -- "$current") && compopt -o filenames 2> /dev/null ;;
    folder) mapfile -t COMPREPLY < <(compgen -d -- "$current") && compopt -o filenames 2> /dev/null ;;
    interface) _fantail_names /sys/class/net "$current" ;;
    namespace) _fantail_names /run/netns "$current" ;;
  esac
  return 0
}

complete -F _fantail fantail
`;
}
