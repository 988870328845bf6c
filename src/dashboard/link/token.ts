/** The token that the operator has shown: kept for this tab and as long as it, and nowhere else. */
const KEY = 'fantail-token';

export const kept = (): string | null => sessionStorage.getItem(KEY);
export const keep = (word: string): void => sessionStorage.setItem(KEY, word);
export const forget = (): void => sessionStorage.removeItem(KEY);
