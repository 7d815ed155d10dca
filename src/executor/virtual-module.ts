/**
 * `import "rfaas/function"` in a module of the user's, who has installed nothing: the executable has no `node_modules`. Every
 * worker registers this before it imports a module; what is behind it is loaded when a module asks for it.
 */
import { plugin } from "bun";
import { PROVIDED_NAMES, loadProvided } from "../function/provided.ts";

export function registerProvidedModules(): void {
  plugin({
    name: "modules of the worker's own",
    setup(build) {
      for (const name of PROVIDED_NAMES)
        build.module(name, () => ({ exports: loadProvided(name), loader: "object" }));
    },
  });
}
