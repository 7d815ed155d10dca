/** Lets one part of a program see the errors of rfaas as they are made. */

let watch: ((error: Error) => void) | undefined;

/** From then on each new error is handed to `watcher` when its constructors have run. */
export function watchErrors(watcher: (error: Error) => void): void {
  watch = watcher;
}

/** Called by the first constructor of an error. */
export function announce(error: Error): void {
  if (watch) queueMicrotask(() => watch?.(error));
}
