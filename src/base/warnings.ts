/**
 * Lines for the person in front of a program: a program gives warnings as a Node program does (`process.emitWarning`), a command logs
 * them with its other lines.
 */

type Show = (message: string, level: "info" | "warn") => void;
type WarningCode = "RFAAS_PACKAGE_INCOMPLETE" | "RFAAS_SECURITY" | "RFAAS_TOKEN";

let shows: Show | undefined;
const shown = new Set<string>();
const MAX_REMEMBERED = 1000;

/** From then on the lines go to `other`. */
export function showWarningsBy(other: Show): void {
  shows = other;
}

const unheard: Show = () => {};

/** From then on no line is shown: a shell that completes a word drops them. */
export function showNoWarnings(): void {
  shows = unheard;
}

/** Whether a person may see the lines. */
export const areWarningsShown = (): boolean => shows !== unheard;

/** Warns of it once. */
export function warnOnce(message: string, code: WarningCode = "RFAAS_PACKAGE_INCOMPLETE"): void {
  if (shown.has(message)) return;
  if (shown.size >= MAX_REMEMBERED) shown.clear();
  shown.add(message);
  if (shows) shows(message, "warn");
  else process.emitWarning(message, { type: "RfaasWarning", code });
}

/** Says it in one line on stderr: it is to be known, and nothing is wrong. */
export function tell(message: string): void {
  if (shows) shows(message, "info");
  else process.stderr.write(`rfaas: ${message}\n`);
}
