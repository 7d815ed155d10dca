/** TypeBox as modules get it: the worker's own copy, by parts. */
export * as main from "@sinclair/typebox";
export * as compiler from "@sinclair/typebox/compiler";
export * as errors from "@sinclair/typebox/errors";
export * as parser from "@sinclair/typebox/parser";
export * as syntax from "@sinclair/typebox/syntax";
export * as system from "@sinclair/typebox/system";
export * as type from "@sinclair/typebox/type";
export * as value from "@sinclair/typebox/value";
