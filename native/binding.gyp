# The addon. Built by `node-gyp -C native configure build`, through the npm script so that node-gyp gets npm's
# settings; never with `rebuild` or `clean`, which would delete native/build and what make has put there.
{
  "targets": [
    {
      "target_name": "fantail",
      "sources": [
        "addon.cpp",
        "addon_worker.cpp",
        "arena.cpp",
        "interface.cpp",
        "loops.cpp",
        "namespace.cpp",
        "netlink.cpp",
        "pass.cpp",
        "privileges.cpp",
        "rx.cpp",
        "sockets.cpp",
        "soft_link.cpp",
        "tx.cpp",
        "xdp.cpp",
        "xsk.cpp",
      ],
      "defines": ["NODE_ADDON_API_CPP_EXCEPTIONS", "NAPI_VERSION=8"],
      # Others' headers are not held to our warnings.
      "cflags_cc": [
        "-std=c++20",
        "-O2",
        "-g",
        "-fexceptions",
        "-fno-strict-aliasing",
        "-flto",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Wconversion",
        "-Werror",
        "-isystem<!(node -p \"require('path').dirname(require.resolve('node-addon-api'))\")",
        "-isystem<(node_root_dir)/include/node",
      ],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20", "-O3"],
      "ldflags": ["-flto"],
      "libraries": ["-lmnl", "-lbpf", "-lelf", "-lz", "-lcap-ng"],
    }
  ]
}
