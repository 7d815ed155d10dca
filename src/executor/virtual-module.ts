/**
 * `import "rfaas/function"` in a module of the user's, who has installed nothing: the executable has no `node_modules`. Every
 * worker registers this before it imports a module; what is behind it is loaded when a module asks for it, at once: a module of
 * CommonJS does not wait.
 */
import { plugin } from "bun";
import { TYPEBOX_PARTS, providedTypeBox } from "../function/provided.ts";

export function registerProvidedModules(): void {
  plugin({
    name: "modules of the worker's own",
    setup(build) {
      const provide = (name: string, load: () => object): void => {
        build.module(name, () => ({ exports: { ...load() }, loader: "object" }));
      };
      provide("rfaas/function", () => require("../function/index.ts"));
      for (const part of TYPEBOX_PARTS)
        provide(providedTypeBox(part), () => {
          const typebox: typeof import("./typebox.ts") = require("./typebox.ts");
          return typebox[part === "" ? "main" : (part.slice(1) as keyof typeof typebox)];
        });
    },
  });
}
