import { Type } from "@sinclair/typebox";
import { ownShim } from "../../../ffi/library.ts";
import { defineCommand } from "../shared/command.ts";
import { Output } from "../shared/output.ts";

/** Hands out the executable's native shim: a library that has the executable alone opens one that fits. */
export const shim = defineCommand({
  usage: "__shim",
  summary: "write the native shim to stdout",
  description: "",
  options: Type.Object({}),
  examples: [],
  hidden: true,
  async run() {
    Output.open().write(ownShim());
  },
});
