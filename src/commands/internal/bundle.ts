import { Type } from "@sinclair/typebox";
import { describeBundle } from "../../package/bundle/fresh-bundle.ts";
import { PackageOptions } from "../../package/options.ts";
import { defineCommand } from "../shared/command.ts";
import { Output } from "../shared/output.ts";

/** Compiles a module for another process, whose own compiler has seen older files. */
export const bundle = defineCommand({
  usage: "__bundle <module>",
  summary: "bundle a module for the process that started this one",
  description: "",
  options: Type.Object({ external: PackageOptions.properties.external }),
  examples: [],
  hidden: true,
  async run([module], { external = [] }) {
    const described = await describeBundle(String(module), external);
    Output.open().write(new TextEncoder().encode(described));
  },
});
