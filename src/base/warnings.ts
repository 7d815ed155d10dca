/** Warnings: a program gets them as a Node program does (`process.emitWarning`), a command logs them with its other lines. */

type Show = (message: string) => void;

let show: Show = (message) =>
  process.emitWarning(message, { type: "RfaasWarning", code: "RFAAS_PACKAGE_INCOMPLETE" });
const shown = new Set<string>();
const MAX_REMEMBERED = 1000;

/** From then on warnings go to `other`. */
export function showWarningsBy(other: Show): void {
  show = other;
}

/** Says it once. */
export function warnOnce(message: string): void {
  if (shown.has(message)) return;
  if (shown.size >= MAX_REMEMBERED) shown.clear();
  shown.add(message);
  show(message);
}
