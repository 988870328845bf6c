/** Light or dark: as the system says, or as the operator has chosen for this browser. */
import { useState } from 'react';

export const themes = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

const KEY = 'fantail-theme';

const kept = (): Theme => themes.find((name) => name === localStorage.getItem(KEY)) ?? 'auto';

function apply(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
}

/** Before anything is drawn. */
export const applyKept = (): void => apply(kept());

export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState(kept);
  const choose = (chosen: Theme) => {
    localStorage.setItem(KEY, chosen);
    apply(chosen);
    setTheme(chosen);
  };
  return [theme, choose];
}
