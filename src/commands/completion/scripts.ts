/** What each shell loads: a function that asks `rfaas __complete` for words, so that a script fits every version of rfaas. */
import bash from "./rfaas.bash" with { type: "text" };
import fish from "./rfaas.fish" with { type: "text" };
import zsh from "./rfaas.zsh" with { type: "text" };

const SCRIPTS = { bash, zsh, fish } as const;

export type Shell = keyof typeof SCRIPTS;
export const SHELLS = Object.keys(SCRIPTS) as Shell[];

export const completionScript = (shell: Shell): string => SCRIPTS[shell];
