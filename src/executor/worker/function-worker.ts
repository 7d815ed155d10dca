/**
 * A thread that runs functions: the worker, with what modules may import of rfaas without having installed it, which the executable
 * has and no `node_modules`. It is loaded when a module asks for it.
 */
import { plugin } from "bun";
import { PROVIDED_NAMES } from "../../package/bundle/provided-names.ts";
import { loadProvided } from "../modules/provided.ts";

plugin({
  name: "modules of the worker's own",
  setup(build) {
    for (const name of PROVIDED_NAMES)
      build.module(name, () => ({ exports: loadProvided(name), loader: "object" }));
    // A module that loads synchronously can be required, too.
    build.module("rfaas", () => ({
      exports: { ...(require("../../index.ts") as object) },
      loader: "object",
    }));
  },
});
await import("./worker.ts");
