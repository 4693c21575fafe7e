# What is installed, and the Debian package that CPack makes of it (tools/package).
include(GNUInstallDirs)

install(TARGETS muster RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS muster_keras_module LIBRARY DESTINATION lib/muster) # where common/keras looks for it
install(DIRECTORY ${CMAKE_BINARY_DIR}/generated/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${CMAKE_BINARY_DIR}/generated/muster DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${CMAKE_BINARY_DIR}/generated/_muster DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${CMAKE_BINARY_DIR}/generated/muster.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES README.md ARCHITECTURE.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(DIRECTORY docs cluster-specs DESTINATION ${CMAKE_INSTALL_DOCDIR})
# What a run of an example left there is not part of it.
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN run EXCLUDE)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME muster)
set(CPACK_PACKAGE_CONTACT "The Muster authors <muster@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "trains Keras models on a TF_CONFIG parameter-server cluster")
set(CPACK_PACKAGE_DESCRIPTION "One program without Python: parameter servers hold the variables, workers push gradients,
a chief deals out the data and writes TensorFlow checkpoints.")
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON) # Depends: the packages of the libraries that the binary links
include(CPack)
