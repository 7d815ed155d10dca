/** A module that changes how its TypeBox works, through every part of it. */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { DefaultErrorFunction, SetErrorFunction } from "@sinclair/typebox/errors";
import { TypeSystem, TypeSystemPolicy } from "@sinclair/typebox/system";
import { defineFunction } from "rfaas/function";
import { FormatRegistry, Type, values } from "./typebox-barrel.ts";

TypeSystemPolicy.AllowNaN = true;
TypeSystem.Format("odd", (text) => text.length % 2 === 1);
SetErrorFunction((error) => error.schema["errorMessage"] ?? DefaultErrorFunction(error));

const Odd = Type.String({ format: "odd", errorMessage: "it is not odd" });

export const odd = defineFunction(
  { input: Odd, output: Type.Array(Type.Boolean()) },
  async (text) => {
    const { FormatRegistry: later } = await import("@sinclair/typebox");
    return [
      TypeCompiler.Compile(Odd).Check(text),
      values.Value.Check(Odd, text),
      later === FormatRegistry,
    ];
  },
);

/** NaN is a number here. */
export const nan = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => n);
