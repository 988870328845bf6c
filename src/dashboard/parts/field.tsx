/** A word to be typed, with its label. What is wrong with it, the server says. */
import { type ReactNode, useId } from 'react';

export function Field(props: {
  readonly label: string;
  readonly value: string;
  readonly hint?: string;
  readonly type?: 'text' | 'password';
  readonly isRequired?: boolean;
  readonly isNumeric?: boolean;
  /** Characters that it has room for. */
  readonly size: number;
  onChange(value: string): void;
}): ReactNode {
  const id = useId();
  const { label, value, hint, type = 'text', isRequired = false, size, onChange } = props;
  return (
    <span className="field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        type={type}
        value={value}
        size={size}
        required={isRequired}
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
        {...(hint === undefined ? {} : { placeholder: hint })}
        {...(props.isNumeric ? { inputMode: 'numeric' as const } : {})}
        onChange={({ target }) => onChange(target.value)}
      />
    </span>
  );
}
