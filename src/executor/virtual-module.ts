/**
 * `import "rfaas/function"` in a module of the user's, who has installed nothing: the executable has no `node_modules`. Every
 * worker registers this before it imports a module; what is behind it is loaded when a module asks for it.
 */
import { plugin } from "bun";

export function registerFunctionModule(): void {
  plugin({
    name: "rfaas/function",
    setup(build) {
      build.module("rfaas/function", async () => ({
        exports: { ...(await import("../function/index.ts")) },
        loader: "object",
      }));
    },
  });
}
