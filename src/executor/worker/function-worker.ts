/**
 * A thread that runs functions: the worker, with what modules may import of rfaas without having installed it, which the executable
 * has and no `node_modules`. It is loaded when a module asks for it.
 */
import { useShimAt } from "../../../ffi/library.ts";
import { PROVIDED_NAMES } from "../../package/bundle/provided-names.ts";
import { provide } from "../modules/provide.ts";
import { loadProvided } from "../modules/provided.ts";

provide("modules of the worker's own", {
  ...Object.fromEntries(PROVIDED_NAMES.map((name) => [name, () => loadProvided(name)])),
  rfaas: () => require("../../index.ts"),
});
// Modules see the arguments that a program without any has.
const [shim] = process.argv.splice(2);
useShimAt(shim!);
await import("./worker.ts");
