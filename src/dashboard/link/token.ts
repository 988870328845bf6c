/**
 * The token that the operator has shown: in the session storage of this tab, which ends with it. A
 * browser copies it to a tab that is made of this one ("Duplicate tab").
 */
import { Kept } from '../kept.js';

const word = new Kept('fantail-token', () => sessionStorage);

export const kept = (): string | null => word.get();
export const keep = (token: string): void => word.set(token);
export const forget = (): void => word.remove();
