/** Errors of the library show where the script is, in place of the executable's bundled code, which says nothing to its author. */
import { watchErrors } from "../../base/error/watch.ts";
import { RfaasError } from "../../base/errors.ts";

/** A chain of causes may be a circle. */
const MAX_CAUSES = 8;

/** Bun quotes the source of the topmost frame, and of ours that is one line of many thousand characters. */
export function hideOwnFrames(): void {
  watchErrors(withoutOwnFrames);
  // An error may be told before its microtask has run.
  process.on("uncaughtExceptionMonitor", (error: unknown) => {
    if (error instanceof RfaasError) withoutOwnFrames(error);
  });
}

/** Causes are told with their error. */
function withoutOwnFrames(error: Error): void {
  let told: unknown = error;
  for (let causes = 0; told instanceof Error && causes <= MAX_CAUSES; causes++) {
    hideIn(told);
    told = told.cause;
  }
}

function hideIn(error: Error): void {
  const lines = error.stack?.split("\n") ?? [];
  const kept = lines.filter((line) => !/\/\$bunfs\/|\(native:/.test(line));
  const { sourceURL } = error as { sourceURL?: unknown };
  const isOurs = typeof sourceURL === "string" && sourceURL.includes("/$bunfs/");
  if (kept.length === lines.length && !isOurs) return;
  // Bun 1.4.5 skips frames of a changed stack that name no function.
  error.stack = kept
    .map((line) => line.replace(/^( +at (?:async )?)([^ (]+:\d+:\d+)$/, "$1<anonymous> ($2)"))
    .join("\n");
  // Where the stack names no place, Bun takes these.
  if (!kept.some((line) => /^ +at /.test(line)))
    for (const place of ["sourceURL", "line", "column"]) Reflect.deleteProperty(error, place);
}
