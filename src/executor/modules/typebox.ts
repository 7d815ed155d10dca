/** All of TypeBox, by the parts that it can be imported by: what workers give to modules. */
export * as main from "@sinclair/typebox";
export * as compiler from "@sinclair/typebox/compiler";
export * as errors from "@sinclair/typebox/errors";
export * as parser from "@sinclair/typebox/parser";
export * as syntax from "@sinclair/typebox/syntax";
export * as system from "@sinclair/typebox/system";
export * as type from "@sinclair/typebox/type";
export * as value from "@sinclair/typebox/value";
