"""Hands on Bazel 4's own rules where rules_proto would be downloaded."""

proto_lang_toolchain = native.proto_lang_toolchain
proto_library = native.proto_library
