# The rewrite in C++, for the benchmark alone. Built by `npm run bench` with node-gyp, as fantail's own addon is, and with
# the same flags.
{
  "targets": [
    {
      "target_name": "rewrite",
      "sources": ["rewrite.cpp"],
      "include_dirs": ["../../../native"],
      "defines": ["NAPI_VERSION=8"],
      "cflags_cc": [
        "-std=c++20",
        "-O2",
        "-g",
        "-fno-strict-aliasing",
        "-Wall",
        "-Wextra",
        "-Wconversion",
        "-Werror",
        "-isystem<(node_root_dir)/include/node",
      ],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-O3"],
    }
  ]
}
