/** Light or dark: as the system says, or as the operator has chosen for this browser. */
import { useState } from 'react';
import { Kept } from './kept.js';

export const themes = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

const word = new Kept('fantail-theme', () => localStorage);

const kept = (): Theme => themes.find((name) => name === word.get()) ?? 'auto';

function apply(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
}

/** Before anything is drawn. */
export const applyKept = (): void => apply(kept());

export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState(kept);
  const choose = (chosen: Theme) => {
    word.set(chosen);
    apply(chosen);
    setTheme(chosen);
  };
  return [theme, choose];
}
